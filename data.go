package scu

// DataReport describes a data file: what was counted, and every line that was
// refused or looks odd, by number. Refused lines stop a job before it starts.
type DataReport struct {
	Format    string `json:"format"` // "text" or "jsonl"
	Bytes     int64  `json:"bytes"`
	Rows      int64  `json:"rows"` // JSONL rows
	Documents int64  `json:"documents"`
	Packing   string `json:"packing,omitempty"` // of rows: "rows", "joined" or "off"
	// Forms counts the rows of each form: "text", "prompt+completion", "messages",
	// "alpaca", "sharegpt". Notes tell how data in a form of others' is read.
	Forms   map[string]int64 `json:"forms,omitempty"`
	Notes   []string         `json:"notes,omitempty"`
	Blocks  int              `json:"blocks"`
	Tokens  int64            `json:"tokens"`   // of all blocks: N of one epoch
	Targets int64            `json:"targets"`  // of them, those that are predicted
	LeftOut int64            `json:"left_out"` // tokens of blocks without a target

	Refused    []DataFindings `json:"refused,omitempty"`
	Suspicious []DataFindings `json:"suspicious,omitempty"`
}

// DataFindings are the lines of one kind, in order; Total counts on where the list
// ends.
type DataFindings struct {
	Kind  DataKind      `json:"kind"`
	Total int64         `json:"total"`
	Lines []DataFinding `json:"lines"`
}

// DataKind is what is wrong with a line, for machines; package data names them.
type DataKind string

// DataFinding is one line.
type DataFinding struct {
	Line    int64  `json:"line"` // from 1
	Message string `json:"message"`
}

// DataToken is a token of a block, for people.
type DataToken struct {
	ID     int32  `json:"id"`
	Text   string `json:"text"`
	Counts bool   `json:"counts"`           // whether its prediction counts in the loss
	Begins bool   `json:"begins,omitempty"` // a row begins here that sees nothing before it
}

// DataCheck is what becomes of a data file in training.
type DataCheck struct {
	BlockSize int           `json:"block_size"`
	Report    DataReport    `json:"report"`
	Preview   [][]DataToken `json:"preview,omitempty"` // of the first blocks
	Error     *Error        `json:"error,omitempty"`   // why a job on it would be refused
}
