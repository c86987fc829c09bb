package scu

import (
	"cmp"
	"context"
	"slices"
	"time"
)

// Damage is a stored blob that is lost, or whose bytes are not those that were stored.
type Damage struct {
	Kind    BlobKind  `json:"kind"`
	Name    string    `json:"name"`
	Title   string    `json:"title,omitempty"`  // of a file, for people
	Job     string    `json:"job_id,omitempty"` // whose adapter or checkpoint it is
	Size    int64     `json:"size"`             // bytes that it should have
	SHA256  string    `json:"sha256"`           // that they should have
	Why     string    `json:"why"`
	FoundAt time.Time `json:"found_at"`
}

// Key names the blob.
func (d Damage) Key() BlobKey { return BlobKey{Kind: d.Kind, Name: d.Name} }

// Verification is one reading of all stored blobs, from the first to the last: how far it
// is, or was when it ended.
type Verification struct {
	BegunAt time.Time  `json:"begun_at"`               // zero: there was none yet
	SeenAt  time.Time  `json:"seen_at"`                // when who reads said so last
	EndedAt *time.Time `json:"ended_at,omitempty"`     // when all was read, but for what could not be
	Before  *time.Time `json:"ended_before,omitempty"` // when the reading before it had ended
	Kind    BlobKind   `json:"kind,omitempty"`         // that is being read
	After   string     `json:"after,omitempty"`        // the last of this kind that is done
	Blobs   int        `json:"blobs"`                  // that were read
	Bytes   int64      `json:"bytes"`
	Damaged int        `json:"damaged"`        // of the blobs
	Unread  int        `json:"unread"`         // that could not be read, which says nothing of their bytes
	Left    []BlobKey  `json:"left,omitempty"` // the first of these, which are read again
}

// LastEnd is when all blobs had been read last; nil: never.
func (v Verification) LastEnd() *time.Time {
	if v.Unread > 0 {
		return v.Before
	}
	return cmp.Or(v.EndedAt, v.Before)
}

// Running reports whether it has begun and not ended.
func (v Verification) Running() bool { return !v.BegunAt.IsZero() && v.EndedAt == nil }

// DamageReports keeps what is known of damaged blobs, and how far the verification is, for
// all processes of a service.
type DamageReports interface {
	// ReportDamage notes that a blob is damaged, in the place of what was noted of it.
	ReportDamage(ctx context.Context, d Damage) error
	// ClearDamage notes that a blob is whole, or needed no longer.
	ClearDamage(ctx context.Context, key BlobKey) error
	// Damaged lists what is damaged, by kind and name.
	Damaged(ctx context.Context) ([]Damage, error)
	// Verification returns the newest one, and its revision.
	Verification(ctx context.Context) (v Verification, revision uint64, err error)
	// UpdateVerification replaces the one of a revision, and returns the new one's;
	// CodeConflict if another process was faster.
	UpdateVerification(ctx context.Context, v Verification, revision uint64) (uint64, error)
}

// ForgetDamage clears what is reported of blobs that are gone: nobody needs to mend them.
func ForgetDamage(ctx context.Context, r DamageReports, gone func(Damage) bool) error {
	all, err := r.Damaged(ctx)
	for _, d := range all {
		if err == nil && gone(d) {
			err = r.ClearDamage(ctx, d.Key())
		}
	}
	return err
}

// Zips are what is stored of the job's adapter and of its checkpoints, as the job has it.
func (j Job) Zips() (all []Damage) {
	add := func(k AdapterKey, size int64, sum string) {
		b := k.Blob()
		all = append(all, Damage{Kind: b.Kind, Name: b.Name, Job: j.ID, Size: size, SHA256: sum})
	}
	if j.Adapter != nil {
		add(j.AdapterKey(), j.Adapter.Size, j.Adapter.SHA256)
	}
	for _, c := range j.Checkpoints {
		add(c.Key(j.ID), c.Size, c.SHA256)
	}
	return all
}

// Reads reports whether the job, which has not ended, reads a file.
func (j Job) Reads(id string) bool { return !j.Status.Ended() && slices.Contains(j.FileIDs(), id) }
