package data

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/parquet-go/parquet-go"
)

// Bounds on what a Parquet file may ask for: it says itself how much memory its
// parts take when they are unpacked.
const (
	maxParquetFooter = 16 << 20
	maxParquetPage   = 128 << 20 // bytes of a page, packed and unpacked
	maxParquetValues = 16 << 20  // of a page
	// maxParquetGrowth is how many times its size a file's text may have, beyond
	// minParquetText: a dictionary can repeat a long text without end.
	maxParquetGrowth = 100
	minParquetText   = 64 << 20
)

// parquetRows gives the rows of a Parquet file: columns of the keys that some form
// has, strings or lists of objects of strings. Other columns aren't read.
type parquetRows struct {
	file    *parquet.File
	groups  []parquet.RowGroup
	keys    []parquetKey
	columns []*parquetColumn // of the row group at hand
	left    int64            // rows in it
	number  int64
	budget  int64 // bytes of text that may still come
	ended   bool
}

// parquetKey is a row's key and the columns that its value is made of.
type parquetKey struct {
	name   string
	list   bool // of objects, a column for each of their fields
	leaves []*parquet.Column
	fields []string // of the objects; for each of leaves
	deep   []bool   // whether a leaf holds lists itself, which isn't read
	known  int      // definition level from which an element is there
}

// newParquet begins to read a Parquet file; false if it is refused.
func newParquet(f io.ReaderAt, size int64, r *Report) (*parquetRows, bool, error) {
	r.Format = formatParquet
	p := &parquetRows{budget: max(minParquetText, maxParquetGrowth*size)}
	if err := guarded(func() error { return p.open(f, size) }); err != nil {
		r.refuse(BadParquet, 1, err.Error())
		return nil, false, nil
	}
	var names []string
	for _, c := range p.file.Root().Columns() {
		names = append(names, c.Name())
	}
	if !hasForm(names) {
		r.refuse(MissingField, 1, fmt.Sprintf(`the file has none of the columns "text", "prompt" and "completion", "messages", "instruction" and "output", "conversations"; its columns are %s`, clip(fmt.Append(nil, names))))
		return nil, false, nil
	}
	return p, true, nil
}

// guarded calls f, whose panic over a broken file is an error.
func guarded(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the file is damaged: %v", p)
		}
	}()
	return f()
}

func (p *parquetRows) open(f io.ReaderAt, size int64) (err error) {
	var tail [8]byte
	if size < 12 {
		return fmt.Errorf("the file is cut off: %d bytes", size)
	}
	if _, err := f.ReadAt(tail[:], size-8); err != nil {
		return err
	}
	if n := binary.LittleEndian.Uint32(tail[:]); string(tail[4:]) != "PAR1" || n > maxParquetFooter || int64(n) > size-12 {
		return fmt.Errorf("the file is cut off or damaged: it doesn't end as Parquet does")
	}
	if p.file, err = parquet.OpenFile(f, size, parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true)); err != nil {
		return err
	}
	p.groups = p.file.RowGroups()
	for _, c := range p.file.Root().Columns() {
		if isKey(c.Name()) {
			k, err := newParquetKey(c)
			if err != nil {
				return err
			}
			p.keys = append(p.keys, k)
		}
	}
	groups := p.file.Metadata().RowGroups
	for _, group := range groups {
		for _, k := range p.keys {
			for _, leaf := range k.leaves {
				codec := groups[0].Columns[leaf.Index()].MetaData.Codec
				if err := checkPages(f, size, group.Columns[leaf.Index()].MetaData, codec, group.NumRows); err != nil {
					return fmt.Errorf("column %s: %w", leaf.Name(), err)
				}
			}
		}
	}
	return nil
}

// isKey reports whether some form has a key.
func isKey(name string) bool {
	for _, keys := range knownKeys {
		if slices.Contains(keys, name) {
			return true
		}
	}
	return false
}

func newParquetKey(c *parquet.Column) (k parquetKey, err error) {
	k.name = c.Name()
	if c.Leaf() {
		if c.MaxRepetitionLevel() > 0 {
			return k, fmt.Errorf("column %s is a list of plain values; write the rows as JSONL", k.name)
		}
		k.leaves = []*parquet.Column{c}
		return k, nil
	}
	k.list = true
	// LIST, repeated group list, element: or a repeated group itself.
	element := c
	for !element.Repeated() {
		if len(element.Columns()) != 1 {
			return k, fmt.Errorf("column %s is an object, not text or a list of messages", k.name)
		}
		if element = element.Columns()[0]; element.Leaf() {
			return k, fmt.Errorf("column %s is a list of plain values; write the rows as JSONL", k.name)
		}
	}
	k.known = element.MaxDefinitionLevel()
	if len(element.Columns()) == 1 && !element.Columns()[0].Leaf() {
		element = element.Columns()[0]
	}
	var add func(c *parquet.Column, field string)
	add = func(c *parquet.Column, field string) {
		if c.Leaf() {
			k.leaves, k.fields = append(k.leaves, c), append(k.fields, field)
			k.deep = append(k.deep, c.MaxRepetitionLevel() > 1 || c.Depth() > element.Depth()+1)
			return
		}
		for _, child := range c.Columns() {
			add(child, field)
		}
	}
	for _, deep := range []bool{false, true} { // the first column tells the entries
		for _, field := range element.Columns() {
			if field.Leaf() != deep {
				add(field, field.Name())
			}
		}
	}
	if len(k.leaves) == 0 || k.deep[0] {
		return k, fmt.Errorf("column %s is not a list of messages; write the rows as JSONL", k.name)
	}
	return k, nil
}

func (p *parquetRows) next() (r row, err error) {
	if p.ended {
		return row{}, io.EOF
	}
	err = guarded(func() error {
		for p.left == 0 {
			if len(p.groups) == 0 {
				return io.EOF
			}
			p.begin(p.groups[0])
			p.groups = p.groups[1:]
		}
		p.left--
		p.number++
		r, err = p.row()
		return err
	})
	if err == nil {
		return r, nil
	}
	p.ended = true
	p.close()
	if err == io.EOF {
		return row{}, io.EOF
	}
	return row{number: max(1, p.number), refused: refusef(BadParquet, "the rows from here on can't be read: %v", err)}, nil
}

// begin begins a row group.
func (p *parquetRows) begin(g parquet.RowGroup) {
	p.close()
	p.left = g.NumRows()
	chunks := g.ColumnChunks()
	for _, k := range p.keys {
		for _, leaf := range k.leaves {
			p.columns = append(p.columns, &parquetColumn{pages: chunks[leaf.Index()].Pages()})
		}
	}
}

func (p *parquetRows) close() {
	for _, c := range p.columns {
		c.close()
	}
	p.columns = nil
}

// row reads the next row of the row group.
func (p *parquetRows) row() (row, error) {
	fields := map[string]json.RawMessage{}
	columns := p.columns
	var nulls []string
	for _, k := range p.keys {
		values := make([][]parquet.Value, len(k.leaves))
		for i := range k.leaves {
			var err error
			if values[i], err = columns[i].row(); err != nil {
				return row{}, err
			}
		}
		columns = columns[len(k.leaves):]
		v, refused := k.value(values)
		if refused != nil {
			return row{number: p.number, refused: refused}, nil
		}
		if p.budget -= int64(len(v)); p.budget < 0 {
			return row{}, fmt.Errorf("its text is more than %d times as long as the file", maxParquetGrowth)
		}
		if v == nil {
			nulls = append(nulls, k.name)
			continue
		}
		fields[k.name] = v
	}
	return row{number: p.number, object: object{fields: fields, nulls: nulls}}, nil
}

// value is a key's value as JSON; nil for null.
func (k *parquetKey) value(values [][]parquet.Value) (json.RawMessage, *refusal) {
	if !k.list {
		v, p := jsonValue(k.name, values[0][0])
		var s string
		if p == nil && v != nil && json.Unmarshal(v, &s) == nil {
			v = cell(k.name, s)
		}
		return v, p
	}
	out := []byte{'['}
	for i := range values[0] {
		if values[0][i].DefinitionLevel() < k.known {
			if len(values[0]) == 1 {
				break // an empty list, or none
			}
			return nil, refusef(WrongType, "%q has null among its entries", k.name)
		}
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, '{')
		none := true
		for j, field := range k.fields {
			if k.deep[j] {
				if slices.ContainsFunc(values[j], func(v parquet.Value) bool { return !v.IsNull() }) {
					return nil, refusef(WrongType, "%q has lists or objects in its entries' %q, which are not read from Parquet; write the rows as JSONL", k.name, field)
				}
				continue
			}
			if len(values[j]) != len(values[0]) {
				return nil, refusef(BadParquet, "%q has entries of unequal number", k.name)
			}
			v, p := jsonValue(field, values[j][i])
			if p != nil {
				return nil, p
			}
			if v == nil {
				continue
			}
			if !none {
				out = append(out, ',')
			}
			none = false
			out = append(append(append(out, jsonString(field)...), ':'), v...)
		}
		out = append(out, '}')
	}
	return append(out, ']'), nil
}

// jsonValue is a value as JSON; nil for null.
func jsonValue(key string, v parquet.Value) (json.RawMessage, *refusal) {
	if v.IsNull() {
		return nil, nil
	}
	switch v.Kind() {
	case parquet.ByteArray:
		if kind, why := checkBytes(v.ByteArray()); kind != "" {
			return nil, refusef(kind, "column %s: %s", clip([]byte(key)), why)
		}
		return jsonString(string(v.ByteArray())), nil
	case parquet.Boolean:
		return strconv.AppendBool(nil, v.Boolean()), nil
	}
	return json.RawMessage("0"), nil // a number, whichever: forms want text
}

// parquetColumn reads a column of a row group row by row.
type parquetColumn struct {
	pages  parquet.Pages
	page   parquet.Page
	values parquet.ValueReader
	buffer [64]parquet.Value
	ready  []parquet.Value // read from the page, and not given yet
	end    bool
}

// row gives the values of the next row, at least one, valid until the next call of
// any method.
func (c *parquetColumn) row() (values []parquet.Value, err error) {
	for {
		if len(c.ready) == 0 {
			if err := c.fill(); err != nil {
				return nil, err
			}
			if c.end {
				if len(values) == 0 {
					return nil, fmt.Errorf("a column has fewer rows than the file")
				}
				return values, nil
			}
		}
		n := 0
		for n < len(c.ready) && (c.ready[n].RepetitionLevel() > 0 || len(values) == 0 && n == 0) {
			n++
		}
		for _, v := range c.ready[:n] {
			values = append(values, v.Clone()) // its bytes belong to the page
		}
		if c.ready = c.ready[n:]; len(c.ready) > 0 {
			return values, nil
		}
		if len(values) > maxParquetValues {
			return nil, fmt.Errorf("a row has more than %d values", maxParquetValues)
		}
	}
}

// fill reads values on; at the column's end there are none.
func (c *parquetColumn) fill() error {
	for !c.end {
		if c.values == nil {
			page, err := c.pages.ReadPage()
			if err == io.EOF {
				c.end = true
				return nil
			}
			if err != nil {
				return err
			}
			c.page, c.values = page, page.Values()
		}
		n, err := c.values.ReadValues(c.buffer[:])
		c.ready = c.buffer[:n]
		if err == io.EOF {
			c.values = nil
		} else if err != nil {
			return err
		}
		if n > 0 {
			return nil
		}
	}
	return nil
}

func (c *parquetColumn) close() {
	c.pages.Close()
}
