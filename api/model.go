package api

import (
	"path/filepath"
	"regexp"
	"strings"

	"github.com/shannon-control/scu"
)

// hubID is the form of a Hugging Face model id: a name, or an owner and a name, and perhaps
// a revision after an @.
var hubID = regexp.MustCompile(`^[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?(@\w[\w./-]{0,95})?$`)

// model returns what trainers load for the model that a submission named: the
// built-in one, a folder on this machine (its resolved path), or a Hub id, which
// Preflight asks the Hub for. A folder goes before a Hub id of the same name.
func (s *Server) model(named string) (string, error) {
	if named == scu.BuiltInModel {
		return named, nil
	}
	dir, err := s.models.findFolder(named)
	if err == nil {
		return dir, nil
	}
	isPath := filepath.IsAbs(named) || strings.HasPrefix(named, ".") || strings.HasPrefix(named, "~")
	if isPath || !hubID.MatchString(named) || strings.Contains(named, "..") {
		if scu.CodeOf(err) == scu.CodeForbidden {
			return "", scu.Errorf(scu.CodeForbidden, "the path is outside the folders that this server reads").
				WithHint("use %q, a Hugging Face model id, or add the folder to SCU_MODEL_DIRS on the server, by default SCU_DATA_DIRS", scu.BuiltInModel)
		}
		return "", scu.Errorf(scu.CodeInvalid, "no model %.100q", named).WithHint("use %q, a model folder on the server, or a Hugging Face model id", scu.BuiltInModel)
	}
	return named, nil
}
