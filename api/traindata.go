package api

import (
	"context"
	"fmt"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
)

// trainData is the training data that a request named, one source or several; nil: none.
type trainData []*source

// Keep keeps all of it.
func (t trainData) Keep(ctx context.Context) error {
	for _, d := range t {
		if err := d.Keep(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (t trainData) Drop() {
	for _, d := range t {
		d.Drop()
	}
}

// trainSources finds the training data of a request, which names it by a path or by a
// list. The caller drops it.
func (s *Server) trainSources(ctx context.Context, named string, list []client.TrainSource) (_ scu.Sources, found trainData, err error) {
	if named == "" == (len(list) == 0) {
		return nil, nil, scu.Errorf(scu.CodeInvalid, "give train_data_path or train_data, not both or neither").At("train_data_path")
	}
	if named != "" {
		list = []client.TrainSource{{Path: named}}
	}
	defer func() {
		if err != nil {
			found.Drop()
			found = nil
		}
	}()
	var errs []error
	sources := make(scu.Sources, len(list))
	for i, x := range list {
		field := "train_data_path"
		if named == "" {
			field = fmt.Sprintf("train_data[%d].path", i)
		}
		sources[i] = scu.Source{Path: x.Path, Share: x.Share}
		d, err := s.resolve(ctx, field, x.Path)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		found = append(found, d)
		sources[i].Path, sources[i].File = d.name(x.Path), d.File
	}
	return sources, found, scu.Join(append(errs, sources.Check())...)
}

// several is the sources as a job has them: none if there is but one.
func several(sources scu.Sources) scu.Sources {
	if len(sources) == 1 {
		return nil
	}
	return sources
}

// someData finds the data of a request that needs none; call drop after use.
func (s *Server) someData(ctx context.Context, named string, list []client.TrainSource, val string) (sources scu.Sources, valFile *scu.File, drop func(), err error) {
	var found trainData
	if named != "" || len(list) > 0 {
		if sources, found, err = s.trainSources(ctx, named, list); err != nil {
			return nil, nil, nil, err
		}
	}
	if val != "" {
		d, err := s.resolve(ctx, "val_data_path", val)
		if err != nil {
			found.Drop()
			return nil, nil, nil, err
		}
		found, valFile = append(found, d), &d.File
	}
	return sources, valFile, found.Drop, nil
}
