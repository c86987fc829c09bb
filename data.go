package scu

// DataReport describes a data file: what was counted, and every line that was
// refused or looks odd, by number. Refused lines stop a job before it starts.
type DataReport struct {
	Format    string `json:"format"` // "text", "jsonl", "csv" or "parquet"; "mixed" for sources of several
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

// SourceReport describes one of several sources of training data.
type SourceReport struct {
	Name        string  `json:"name"`
	Share       float64 `json:"share,omitempty"` // as asked for; 0: read once
	Documents   int64   `json:"documents"`
	Tokens      int64   `json:"tokens"`       // of all its blocks
	EpochTokens int64   `json:"epoch_tokens"` // that an epoch has of it
}

// Add adds the figures of another file; its findings stay its own.
func (r *DataReport) Add(o DataReport) {
	if r.Bytes == 0 {
		r.Format = o.Format
	} else if r.Format != o.Format {
		r.Format = "mixed"
	}
	r.Bytes, r.Rows, r.Documents = r.Bytes+o.Bytes, r.Rows+o.Rows, r.Documents+o.Documents
	r.Blocks, r.Tokens, r.Targets, r.LeftOut = r.Blocks+o.Blocks, r.Tokens+o.Tokens, r.Targets+o.Targets, r.LeftOut+o.LeftOut
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

// SourceCheck is one of several sources, checked.
type SourceCheck struct {
	SourceReport
	Report DataReport `json:"report"` // of its file
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
	BlockSize int        `json:"block_size"`
	Report    DataReport `json:"report"`
	// Sources and EpochTokens, N of an epoch, are there if there are several sources:
	// Report then has their sums.
	Sources     []SourceCheck `json:"sources,omitempty"`
	EpochTokens int64         `json:"epoch_tokens,omitempty"`
	Preview     [][]DataToken `json:"preview,omitempty"` // of the first blocks
	Error       *Error        `json:"error,omitempty"`   // why a job on it would be refused
}
