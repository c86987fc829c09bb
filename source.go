package scu

import "fmt"

// MaxSources is the most sources of training data that a job has.
const MaxSources = 16

// Source is a file of training data, one of several. Shares are the relative weights of
// the sources' tokens in an epoch: the source with the most tokens for its share is read
// once, each of the others over and over until it has its share. With no shares each
// source is read once.
type Source struct {
	Path  string  `json:"path"`            // as the user named it, like Config.TrainDataPath
	Share float64 `json:"share,omitempty"` // above 0; 0: no source has one
	File  File    `json:"file"`            // the stored copy
}

// Sources is the training data of a job.
type Sources []Source

// TrainSources is all of a job's training data, one source or several.
func (j Job) TrainSources() Sources {
	if len(j.Sources) > 0 {
		return j.Sources
	}
	return Sources{{Path: j.Config.TrainDataPath, File: j.TrainData}}
}

// Field is the field of a submission that names source i.
func (s Sources) Field(i int) string {
	if len(s) == 1 {
		return "train_data_path"
	}
	return fmt.Sprintf("train_data[%d].path", i)
}

// Size is the bytes of all sources.
func (s Sources) Size() (n int64) {
	for _, x := range s {
		n += x.File.Size
	}
	return n
}

// Shares are the sources' shares, nil if each is read once.
func (s Sources) Shares() []float64 {
	if len(s) == 0 || s[0].Share == 0 {
		return nil
	}
	shares := make([]float64, len(s))
	for i, x := range s {
		shares[i] = x.Share
	}
	return shares
}

// Check refuses sources that don't go together.
func (s Sources) Check() error {
	var errs []error
	seen := map[string]int{}
	for i, x := range s {
		field := fmt.Sprintf("train_data[%d]", i)
		if (x.Share == 0) != (s[0].Share == 0) {
			errs = append(errs, Errorf(CodeInvalid, "some sources have a share and some have none").At(field+".share").
				WithHint("give each source a share, or none: then each is read once an epoch"))
		} else if x.Share != 0 && !(x.Share >= 1e-6 && x.Share <= 1e6) {
			errs = append(errs, Errorf(CodeInvalid, "%v is out of range; it goes from 1e-06 to 1e+06", x.Share).At(field+".share"))
		}
		if x.File.ID == "" {
			continue
		}
		if first, ok := seen[x.File.ID]; ok {
			errs = append(errs, Errorf(CodeInvalid, "it is the same data as train_data[%d]", first).At(field+".path").
				WithHint("leave it out, and raise the share of the other"))
		} else {
			seen[x.File.ID] = i
		}
	}
	return Join(errs...)
}

// FileIDs are the ids of all files that the job reads.
func (j Job) FileIDs() (ids []string) {
	for _, source := range j.TrainSources() {
		ids = append(ids, source.File.ID)
	}
	for _, f := range []*File{j.ValData, j.OtherData} {
		if f != nil {
			ids = append(ids, f.ID)
		}
	}
	if j.Config.FromAdapterFile != "" {
		ids = append(ids, j.Config.FromAdapterFile)
	}
	return ids
}
