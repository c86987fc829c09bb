package scu_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/shannon-control/scu"
)

func TestParseRetention(t *testing.T) {
	got, err := scu.ParseRetention([]string{"jobs=90d", " jobs=2TB", "files=1.5GB", "checkpoints=36h"})
	want := scu.Retention{scu.RetainJobs: {Age: 90 * 24 * time.Hour, Bytes: 2e12}, scu.RetainFiles: {Bytes: 1.5e9}, scu.RetainCheckpoints: {Age: 36 * time.Hour}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"", "jobs", "jobs=", "models=3d", "jobs=-1d", "jobs=0d", "jobs=1s", "files=0GB", "files=GB", "files=-1GB", "jobs=1e400d", "files=1e30TB", "jobs=99999999d"} {
		if got, err := scu.ParseRetention([]string{bad}); scu.CodeOf(err) != scu.CodeInvalid {
			t.Errorf("%q: %v, %v", bad, got, err)
		}
	}
}
