package cublaslt

// Workspace is the memory in bytes that products may use.
const Workspace = 32 << 20
