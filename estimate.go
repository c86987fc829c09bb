package scu

// Estimate is what a training run will take on a machine, before it is run.
type Estimate struct {
	Parameters int64          `json:"parameters"`           // of the base model
	Trainable  int64          `json:"trainable_parameters"` // of the adapter
	Memory     MemoryEstimate `json:"memory"`
	Class      string         `json:"class,omitempty"` // of the trainers that can hold it

	Steps           int     `json:"steps"`
	Tokens          int64   `json:"tokens"` // trained on, in all epochs
	TokensPerSecond float64 `json:"tokens_per_second"`
	StepSeconds     float64 `json:"step_seconds"`
	Validations     int     `json:"validations"`
	Seconds         float64 `json:"seconds"` // of training and validation

	Warnings []string `json:"warnings,omitempty"`
}

// MemoryEstimate is the memory of the process that trains, in bytes: the GPU's if it
// trains on one, else the host's.
type MemoryEstimate struct {
	Weights     int64 `json:"weights"`     // mapped from the checkpoint; processes that use the same one share it
	Activations int64 `json:"activations"` // of a micro-batch
	Adapter     int64 `json:"adapter"`     // with gradients and moments
	Scratch     int64 `json:"scratch"`     // of the device
	Process     int64 `json:"process"`     // everything else of the service, with what its collector hasn't collected
	Peak        int64 `json:"peak"`        // the sum of these

	Host int64 `json:"host,omitempty"` // of the host's memory, beside a GPU's: what a step reads little of or can wait for

	Checkpointing bool  `json:"gradient_checkpointing"` // activations are computed again, all or some: memory is short, or the job asks for it
	Available     int64 `json:"available,omitempty"`    // that the machine has now
}
