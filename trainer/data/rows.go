package data

import (
	"context"
	"fmt"
	"hash/maphash"
	"io"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
)

// maxRemembered bounds the rows among which duplicates are looked for, and with
// them the memory that takes.
const maxRemembered = 1 << 20

// maxUnknownKeys bounds the extra keys that are named.
const maxUnknownKeys = 20

// Rows are taken in batches, which end with the row that fills them.
const (
	batchRows  = 256
	batchBytes = 256 << 10
	// batchHeld is the text that a batch's documents may have before the rest of them
	// are made one by one: a chat template can write much for a short row.
	batchHeld = 32 << 20
)

// rowSource gives the rows of a file, in their order; io.EOF after the last. What a
// row lacks for being one is told in it.
type rowSource interface {
	next() (row, error)
}

// rowReader gives the documents of rows, each in one of the forms of forms.go. null
// counts as absent. Keys that the form doesn't have are read past, with a warning
// each.
type rowReader struct {
	source  rowSource
	report  *Report
	unknown map[string]bool
	seed    maphash.Seed
	seen    map[uint64]int64 // hash of a row's text -> its line
}

// readRows gives the documents of rows, encoded. Rows are parsed and encoded on all
// cores; what comes of them is told and given on in their order.
func readRows(ctx context.Context, source rowSource, o Options, encode func(*document), r *Report, emit func(document) error) error {
	j := rowReader{source: source, report: r, unknown: map[string]bool{}, seed: maphash.MakeSeed(), seen: map[uint64]int64{}}
	for {
		rows, err := j.batch()
		if err != nil {
			return err
		}
		if len(rows) == 0 {
			break
		}
		wanted := len(r.Refused) == 0 // else the rest is only looked through
		var held atomic.Int64
		read := func(row *row) {
			if row.parse(ctx, o); row.refused == nil && wanted {
				encode(&row.doc)
			}
			held.Add(int64(len(row.doc.text)))
			row.read = true
		}
		inParallel(len(rows), func(i int) {
			if ctx.Err() == nil && held.Load() < batchHeld {
				read(&rows[i])
			}
		})
		for i := range rows {
			row := rows[i]
			rows[i].doc = document{} // it needn't be held on
			if !row.read && ctx.Err() == nil {
				read(&row)
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			r.Rows++
			if p := row.refused; p != nil {
				r.refuse(p.kind, row.number, p.why)
				if p.kind == Binary {
					return nil
				}
				continue
			}
			j.warn(&row)
			r.Documents++
			r.countForm(row.doc.form, o)
			if err := emit(row.doc); err != nil {
				return err
			}
		}
	}
	if r.Rows == 0 {
		r.refuse(Empty, 1, "the file has no row")
	}
	return nil
}

// batch reads the next rows; none at the end of the file.
func (j *rowReader) batch() (rows []row, err error) {
	for bytesRead := 0; len(rows) < batchRows && bytesRead < batchBytes; {
		row, err := j.source.next()
		if err == io.EOF {
			return rows, nil
		}
		if err != nil {
			return nil, err
		}
		bytesRead += row.size()
		rows = append(rows, row)
	}
	return rows, nil
}

// inParallel calls f for 0 to n-1 on all cores. A panic of f is its own.
func inParallel(n int, f func(i int)) {
	var next atomic.Int64
	var fault atomic.Pointer[string]
	var all sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), n) {
		all.Go(func() {
			defer func() {
				if p := recover(); p != nil {
					said := fmt.Sprintf("%v\n%s", p, debug.Stack())
					fault.Store(&said)
				}
			}()
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(i)
			}
		})
	}
	all.Wait()
	if said := fault.Load(); said != nil {
		panic(*said)
	}
}

// warn tells what is odd about a row that is taken.
func (j *rowReader) warn(r *row) {
	if r.marked {
		j.report.suspect(Encoding, r.number, "a byte order mark was taken off the row")
	}
	if k := r.object.twice; k != "" {
		j.report.suspect(DuplicateKey, r.number, fmt.Sprintf("has the key %s more than once; the last counts", clip([]byte(k))))
	}
	j.warnUnknown(r)
	j.warnDuplicate(r.doc)
	suspectText(j.report, r.number, r.doc.text)
}

func (j *rowReader) warnUnknown(r *row) {
	for _, k := range sortedKeys(r.object.fields) {
		if slices.Contains(knownKeys[r.doc.form], k) || j.unknown[k] || len(j.unknown) == maxUnknownKeys {
			continue
		}
		j.unknown[k] = true
		j.report.suspect(UnknownKey, r.number, fmt.Sprintf("the key %s is not used, here and in other lines", clip([]byte(k))))
	}
}

func (j *rowReader) warnDuplicate(d document) {
	h := maphash.String(j.seed, d.text)
	if first, ok := j.seen[h]; ok {
		j.report.suspect(Duplicate, d.line, fmt.Sprintf("the same as line %d", first))
	} else if len(j.seen) < maxRemembered {
		j.seen[h] = d.line
	}
}
