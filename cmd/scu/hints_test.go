package main

import "testing"

func TestHintsInFlags(t *testing.T) {
	for hint, want := range map[string]string{
		"set base_model beside config_overrides, not in it":                      "use --base-model",
		"set from_adapter beside config_overrides":                               "use --from-adapter",
		"set other beside config_overrides":                                      "set other beside config_overrides",
		"storage is the server's; fetch the adapter with GET /jobs/{id}/adapter": "storage is the server's; fetch the adapter with scu download JOB --output-dir DIR",
		"wait until it is completed: GET /jobs/0123456789abcdef/status":          "wait until it is completed: scu status 0123456789abcdef",
		"GET /jobs lists those that are here":                                    "see: scu jobs",
		"upload it with POST /files":                                             "name a file on this machine: it is uploaded",
		"did you mean \"r\"?":                                                    "did you mean \"r\"?",
	} {
		if got := inFlags(hint); got != want {
			t.Errorf("%q became %q, want %q", hint, got, want)
		}
	}
}
