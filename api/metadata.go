package api

import (
	"strings"
	"unicode/utf8"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
)

// Bounds of a job's metadata, which are those of OpenAI's API.
const (
	maxMetadata      = 16
	maxMetadataKey   = 64 // characters
	maxMetadataValue = 512
)

func checkMetadata(m map[string]string) error {
	if len(m) > maxMetadata {
		return scu.Errorf(scu.CodeInvalid, "has %d entries, more than %d", len(m), maxMetadata).At("metadata")
	}
	for k, v := range m {
		switch {
		case k == "" || utf8.RuneCountInString(k) > maxMetadataKey:
			return scu.Errorf(scu.CodeInvalid, "a name has 1 to %d characters, unlike %.80q", maxMetadataKey, k).At("metadata")
		case utf8.RuneCountInString(v) > maxMetadataValue:
			return scu.Errorf(scu.CodeInvalid, "%q has more than %d characters", k, maxMetadataValue).At("metadata")
		case strings.ContainsFunc(k+v, misleads):
			return scu.Errorf(scu.CodeInvalid, "%q contains a control character", k).At("metadata")
		}
	}
	return nil
}

// checkMultiplier refuses a multiplier without the one rate that it multiplies.
func checkMultiplier(req *client.SubmitRequest) error {
	const field = "learning_rate_multiplier"
	switch {
	case req.LearningRateMultiplier == 0:
		return nil
	case !req.Recommend:
		return scu.Errorf(scu.CodeInvalid, "multiplies the recommended learning rate, and none is asked for").At(field).WithHint("set recommend, or the learning rate itself")
	case req.ConfigOverrides["learning_rate"] != nil:
		return scu.Errorf(scu.CodeInvalid, "the learning rate is given itself").At(field).WithHint("leave one of them out")
	}
	return nil
}
