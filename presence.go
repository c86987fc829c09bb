package scu

import (
	"context"
	"slices"
	"time"
)

// Presence is what a trainer says about itself.
type Presence struct {
	Trainer  string    `json:"trainer"`
	Classes  []string  `json:"classes"`            // what it can run
	Job      string    `json:"job_id,omitempty"`   // what it runs
	Devices  []string  `json:"devices,omitempty"`  // for people: "cpu, 8 cores", "NVIDIA H100 80GB"
	Memory   int64     `json:"memory,omitempty"`   // bytes that it can give a job; 0 if unknown
	GPU      *GPU      `json:"gpu,omitempty"`      // how its GPU fares
	Problem  string    `json:"problem,omitempty"`  // why it takes no jobs now
	Draining bool      `json:"draining,omitempty"` // it takes no more jobs; filled by the API
	Version  string    `json:"version,omitempty"`
	Since    time.Time `json:"since"` // start of the process
	Seen     time.Time `json:"seen"`  // when it last announced itself; filled by Trainers
}

// GPU is how a trainer's GPU fares, as its driver tells it. What that doesn't know is 0.
type GPU struct {
	Number      int    `json:"number"` // as gpu_id names it
	UUID        string `json:"uuid,omitempty"`
	Name        string `json:"name,omitempty"`
	Total       int64  `json:"memory_total"`        // in bytes
	Free        int64  `json:"memory_free"`         // in bytes, of all processes
	Utilisation int    `json:"utilisation_percent"` // of the last second or less
	Temperature int    `json:"temperature_celsius"`
	Watts       int    `json:"power_watts"`
	Fault       string `json:"fault,omitempty"` // the last that the driver reported
}

// Roster lists the live trainers.
type Roster interface {
	// Announce counts for 15 s, so a trainer calls it every 5 s and when its job changes.
	Announce(ctx context.Context, p Presence) error
	// Trainers lists the live trainers, by name.
	Trainers(ctx context.Context) ([]Presence, error)
	// Trainer returns what one of them last said; CodeNotFound if it isn't there.
	Trainer(ctx context.Context, name string) (Presence, error)
}

// ServedFamily reports whether one of the trainers takes jobs of any class of a family.
func ServedFamily(trainers []Presence, family string) bool {
	return slices.ContainsFunc(trainers, func(p Presence) bool { return p.takesFamily(family) })
}

func (p Presence) takesFamily(family string) bool {
	return slices.ContainsFunc(p.Classes, func(class string) bool { return ClassFamily(class) == family })
}

// MostMemory is what that trainer can give a job which has most of those that take a
// class, or any class of a family, in bytes; 0 if none says.
func MostMemory(trainers []Presence, class string) (most int64) {
	for _, p := range trainers {
		if slices.Contains(p.Classes, class) || p.takesFamily(class) {
			most = max(most, p.Memory)
		}
	}
	return most
}

// Served reports whether one of the trainers takes jobs of a class.
func Served(trainers []Presence, class string) bool {
	return slices.ContainsFunc(trainers, func(p Presence) bool { return slices.Contains(p.Classes, class) })
}

// APIWriter is the name under which the API writes to the log.
const APIWriter = "api"

// maxName bounds names that become part of subjects.
const maxName = 64

// ValidTrainer reports whether name can name a trainer: 1 to 64 letters, digits, '-'
// or '_', and none of "api", "submit" and "again", which stand for others in the log.
func ValidTrainer(name string) bool {
	return ValidClass(name) && name != APIWriter && name != "submit" && name != "again"
}

// ValidClass reports whether class can name a resource class: 1 to 64 letters, digits,
// '-' or '_'.
func ValidClass(class string) bool {
	if class == "" || len(class) > maxName {
		return false
	}
	for i := range len(class) {
		c := class[i]
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}
