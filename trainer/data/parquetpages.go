package data

import (
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"io"
	"slices"

	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

// parquetCodecs are those that pages may be packed with: the ones whose output can be
// bounded before the reader of Parquet unpacks a page at once.
var parquetCodecs = []format.CompressionCodec{format.Uncompressed, format.Snappy, format.Gzip, format.Zstd}

// checkPages walks over a column's pages, which tell what reading them will take. The
// codec is that of the column's first chunk, by which all are unpacked.
func checkPages(f io.ReaderAt, size int64, m format.ColumnMetaData, codec format.CompressionCodec, rows int64) error {
	if m.Codec != codec {
		return fmt.Errorf("its row groups are packed by %v and %v; write the file with one of them", codec, m.Codec)
	}
	if !slices.Contains(parquetCodecs, codec) {
		return fmt.Errorf("it is packed by %v, which is not read; write the file with zstd, snappy, gzip or none", codec)
	}
	at := m.DataPageOffset
	if o := m.DictionaryPageOffset; o > 0 && o < at {
		at = o
	}
	end := at + m.TotalCompressedSize
	if at < 4 || m.TotalCompressedSize < 0 || end > size || end < at || rows < 0 {
		return fmt.Errorf("the file is damaged: a column from byte %d to %d of %d", at, end, size)
	}
	for at < end {
		section := &countingReader{r: io.NewSectionReader(f, at, end-at)}
		var header format.PageHeader
		if err := thrift.NewDecoder(new(thrift.CompactProtocol).NewReader(section)).Decode(&header); err != nil {
			return fmt.Errorf("the header of a page: %w", err)
		}
		values := max(header.DataPageHeader.V.NumValues, header.DataPageHeaderV2.V.NumValues, header.DictionaryPageHeader.V.NumValues)
		if header.CompressedPageSize < 0 || header.UncompressedPageSize < 0 || header.CompressedPageSize > maxParquetPage || header.UncompressedPageSize > maxParquetPage || values > maxParquetValues {
			return fmt.Errorf("a page of %d bytes and %d values; %d and %d are the most", header.UncompressedPageSize, values, maxParquetPage, maxParquetValues)
		}
		at += section.n
		page, err := packedPart(io.NewSectionReader(f, at, int64(header.CompressedPageSize)), &header)
		if err == nil {
			err = checkUnpacked(page, codec)
		}
		if err != nil {
			return err
		}
		at += int64(header.CompressedPageSize)
	}
	return nil
}

// packedPart is what of a page is packed: of the second version's pages what follows the
// levels, and nothing if they say so.
func packedPart(page *io.SectionReader, header *format.PageHeader) (*io.SectionReader, error) {
	if header.Type != format.DataPageV2 {
		return page, nil
	}
	v2 := header.DataPageHeaderV2.V
	levels := int64(v2.RepetitionLevelsByteLength) + int64(v2.DefinitionLevelsByteLength)
	if v2.RepetitionLevelsByteLength < 0 || v2.DefinitionLevelsByteLength < 0 || levels > page.Size() {
		return nil, fmt.Errorf("the file is damaged: a page of %d bytes with %d of levels", page.Size(), levels)
	}
	if v2.IsCompressed.Valid && !v2.IsCompressed.V {
		levels = page.Size()
	}
	return io.NewSectionReader(page, levels, page.Size()-levels), nil
}

// checkUnpacked refuses what would unpack to more than maxParquetPage, whatever the page's
// header says.
func checkUnpacked(page *io.SectionReader, codec format.CompressionCodec) (err error) {
	if page.Size() == 0 {
		return nil
	}
	var r io.Reader
	switch codec {
	case format.Snappy: // says its length itself, and is held to it
		var length [binary.MaxVarintLen32]byte
		n, _ := page.ReadAt(length[:], 0)
		if claimed, _ := binary.Uvarint(length[:n]); claimed > maxParquetPage {
			return fmt.Errorf("a page that unpacks to %d bytes; %d are the most", claimed, maxParquetPage)
		}
		return nil
	case format.Gzip:
		r, err = gzip.NewReader(page)
	case format.Zstd:
		var d *zstd.Decoder
		if d, err = zstd.NewReader(page, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxParquetPage)); err == nil {
			defer d.Close()
			r = d
		}
	default:
		return nil
	}
	var n int64
	if err == nil {
		n, err = io.Copy(io.Discard, io.LimitReader(r, maxParquetPage+1))
	}
	if err != nil {
		return fmt.Errorf("a page can't be unpacked: %w", err)
	}
	if n > maxParquetPage {
		return fmt.Errorf("a page unpacks to more than %d bytes", maxParquetPage)
	}
	return nil
}

// countingReader counts the bytes read, byte by byte as a header needs them.
type countingReader struct {
	r io.Reader
	n int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}
