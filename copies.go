package scu

// Copies says how well the log is kept.
type Copies struct {
	Kept    int `json:"kept" doc:"Servers that are to keep the log"`
	Current int `json:"current" doc:"Those of them that have all of it now; most of them must, or nothing is stored"`
}
