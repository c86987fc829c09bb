package safetensors

// DType is an element type, by its name in the file.
type DType string

const (
	Bool       DType = "BOOL"
	U8         DType = "U8"
	I8         DType = "I8"
	F8E5M2     DType = "F8_E5M2"
	F8E4M3     DType = "F8_E4M3"
	F8E8M0     DType = "F8_E8M0"
	F8E4M3FNUZ DType = "F8_E4M3FNUZ"
	F8E5M2FNUZ DType = "F8_E5M2FNUZ"
	I16        DType = "I16"
	U16        DType = "U16"
	F16        DType = "F16"
	BF16       DType = "BF16"
	I32        DType = "I32"
	U32        DType = "U32"
	F32        DType = "F32"
	C64        DType = "C64"
	F64        DType = "F64"
	I64        DType = "I64"
	U64        DType = "U64"
)

// dtypes gives each type's size in bytes and its rank in the official library's list, by which
// its writer orders tensors (highest first, so that wide elements come first and stay aligned).
// The list's types smaller than a byte (F4, F6_*) are not supported.
var dtypes = map[DType]struct{ size, rank int }{
	Bool:       {1, 0},
	U8:         {1, 1},
	I8:         {1, 2},
	F8E5M2:     {1, 3},
	F8E4M3:     {1, 4},
	F8E8M0:     {1, 5},
	F8E4M3FNUZ: {1, 6},
	F8E5M2FNUZ: {1, 7},
	I16:        {2, 8},
	U16:        {2, 9},
	F16:        {2, 10},
	BF16:       {2, 11},
	I32:        {4, 12},
	U32:        {4, 13},
	F32:        {4, 14},
	C64:        {8, 15},
	F64:        {8, 16},
	I64:        {8, 17},
	U64:        {8, 18},
}

// Size is the number of bytes of one element; 0 for a type that is not known.
func (d DType) Size() int { return dtypes[d].size }
