// Package s3 keeps blobs in a bucket of S3, or of a server that speaks its protocol:
// scu.Blobs.
//
// What is put is written to a file here first, so that its size and sum are known when it
// is sent, with which the object appears at once or not at all, and a part that fails is
// sent again. A reading that breaks off goes on where it was.
package s3

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"golang.org/x/sync/errgroup"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/blobs/folder"
)

// Options say where the bucket is and who asks.
type Options struct {
	// Endpoint is the URL of the server. Default: Amazon's.
	Endpoint string
	Region   string
	// Bucket must be there. Prefix goes before every name.
	Bucket, Prefix string
	// AccessKey and SecretKey log in. Default: those of AWS's variables, then those of its
	// credentials file, then, at Amazon, those of the machine's role.
	AccessKey, SecretKey string
	// Dir is a folder for what is being sent.
	Dir string

	transport http.RoundTripper // tests break it
}

// amazon is the endpoint of those who name none.
const amazon = "https://s3.amazonaws.com"

// partSize is how much is sent in one request, and sent again if it fails.
const partSize = 16 << 20

// Blobs is a bucket, or what begins with a prefix there.
type Blobs struct {
	core   minio.Core
	bucket string
	prefix string
	dir    string
}

var _ scu.Blobs = (*Blobs)(nil)

// ParseURL reads s3://bucket/prefix.
func ParseURL(s string) (bucket, prefix string, err error) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "s3" || u.Host == "" || u.User != nil || u.RawQuery != "" {
		return "", "", scu.Errorf(scu.CodeInvalid, "%.100q is not of the form s3://bucket/prefix", s)
	}
	return u.Host, strings.Trim(u.Path, "/"), nil
}

// staleAfter is the age at which what a dead process was sending is removed.
const staleAfter = 24 * time.Hour

// Open asks the server for the bucket. What processes that died long ago were sending from
// this machine is removed here: Sweep is called on another one, perhaps.
func Open(ctx context.Context, o Options) (*Blobs, error) {
	if o.Endpoint == "" {
		o.Endpoint = amazon
	}
	u, err := url.Parse(o.Endpoint)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" {
		return nil, scu.Errorf(scu.CodeInvalid, "%.100q is not the address of an S3 server", o.Endpoint).WithHint("it has the form https://host:port")
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, folder.Failed("open the storage", err)
	}
	if err := folder.SweepFolder(o.Dir, time.Now().Add(-staleAfter)); err != nil {
		return nil, err
	}
	client, err := minio.New(u.Host, &minio.Options{
		Creds: login(o), Secure: u.Scheme == "https", Region: o.Region, Transport: o.transport, MaxRetries: tries,
	})
	if err != nil {
		return nil, scu.Errorf(scu.CodeInvalid, "S3: %w", err)
	}
	b := &Blobs{core: minio.Core{Client: client}, bucket: o.Bucket, prefix: o.Prefix, dir: o.Dir}
	_, _, err = b.List(ctx, scu.AdapterBlob, "", "", 1)
	return b, err
}

func login(o Options) *credentials.Credentials {
	if o.AccessKey != "" {
		return credentials.NewStaticV4(o.AccessKey, o.SecretKey, "")
	}
	from := []credentials.Provider{&credentials.EnvAWS{}, &credentials.FileAWSCredentials{}}
	if o.Endpoint == amazon {
		from = append(from, &credentials.IAM{})
	}
	return credentials.NewChainCredentials(from)
}

// object is the name of a blob's object.
func (b *Blobs) object(key scu.BlobKey) string { return path.Join(b.prefix, key.String()) }

// Names of what an object's metadata has.
const (
	sumKey   = "Sha256"
	titleKey = "Title" // escaped: headers hold no other than ASCII
)

func metadata(sum, title string) map[string]string {
	return map[string]string{sumKey: sum, titleKey: url.QueryEscape(title)}
}

// Put implements scu.Blobs.
func (b *Blobs) Put(ctx context.Context, key scu.BlobKey, r io.Reader, o scu.PutOptions) (scu.Blob, error) {
	if err := key.Check(); err != nil {
		return scu.Blob{}, err
	}
	aside := filepath.Join(b.dir, "sending-"+scu.NewJobID())
	sum, err := folder.Write(ctx, aside, r, o)
	defer os.Remove(aside)
	if err != nil {
		return scu.Blob{}, folder.Failed("store "+key.String(), err)
	}
	f, err := os.Open(aside)
	if err != nil {
		return scu.Blob{}, folder.Failed("store "+key.String(), err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return scu.Blob{}, folder.Failed("store "+key.String(), err)
	}
	_, err = b.core.Client.PutObject(ctx, b.bucket, b.object(key), f, info.Size(), minio.PutObjectOptions{
		UserMetadata: metadata(sum, o.Title), ContentType: "application/octet-stream", PartSize: partSize, SendContentMd5: true,
	})
	if err != nil {
		return scu.Blob{}, b.failed(ctx, key, "store", err)
	}
	return b.Stat(ctx, key)
}

// Get implements scu.Blobs.
func (b *Blobs) Get(ctx context.Context, key scu.BlobKey, from, length int64) (io.ReadCloser, scu.Blob, error) {
	blob, etag, err := b.stat(ctx, key)
	if err != nil {
		return nil, blob, err
	}
	end := blob.Size
	if length >= 0 {
		end = min(end, from+length)
	}
	r := &reader{b: b, ctx: ctx, key: key, etag: etag, at: from, end: end}
	if from == 0 && end == blob.Size {
		return blob.Verified(r), blob, nil
	}
	return r, blob, nil
}

// Stat implements scu.Blobs.
func (b *Blobs) Stat(ctx context.Context, key scu.BlobKey) (scu.Blob, error) {
	blob, _, err := b.stat(ctx, key)
	return blob, err
}

func (b *Blobs) stat(ctx context.Context, key scu.BlobKey) (blob scu.Blob, etag string, err error) {
	if err := key.Check(); err != nil {
		return scu.Blob{}, "", err
	}
	info, err := b.core.Client.StatObject(ctx, b.bucket, b.object(key), minio.StatObjectOptions{})
	if err != nil {
		return scu.Blob{}, "", b.failed(ctx, key, "find", err)
	}
	blob = scu.Blob{Key: key, Size: info.Size, StoredAt: info.LastModified.UTC()}
	for k, v := range info.UserMetadata {
		switch http.CanonicalHeaderKey(k) {
		case sumKey:
			blob.SHA256 = v
		case titleKey:
			if blob.Title, err = url.QueryUnescape(v); err != nil {
				blob.Title = v
			}
		}
	}
	return blob, info.ETag, nil
}

// Retitle implements scu.Blobs: the server copies the object onto itself.
func (b *Blobs) Retitle(ctx context.Context, key scu.BlobKey, title string) (scu.Blob, error) {
	blob, etag, err := b.stat(ctx, key)
	if err != nil {
		return blob, err
	}
	_, err = b.core.Client.ComposeObject(ctx,
		minio.CopyDestOptions{Bucket: b.bucket, Object: b.object(key), ReplaceMetadata: true, UserMetadata: metadata(blob.SHA256, title)},
		minio.CopySrcOptions{Bucket: b.bucket, Object: b.object(key), MatchETag: etag})
	if err != nil {
		return blob, b.failed(ctx, key, "store", err)
	}
	return b.Stat(ctx, key)
}

// listers is how many objects of a page are asked for their metadata at once, which lists
// don't have.
const listers = 16

// List implements scu.Blobs.
func (b *Blobs) List(ctx context.Context, kind scu.BlobKind, prefix, after string, limit int) (page []scu.Blob, more bool, err error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	under := path.Join(b.prefix, string(kind)) + "/"
	o := minio.ListObjectsOptions{Prefix: under + prefix, Recursive: true, MaxKeys: limit + 1}
	if after != "" {
		o.StartAfter = under + after
	}
	var keys []scu.BlobKey
	for info := range b.core.Client.ListObjectsIter(ctx, b.bucket, o) {
		if info.Err != nil {
			err := b.failed(ctx, scu.BlobKey{Kind: kind, Name: prefix}, "list", info.Err)
			if scu.CodeOf(err) == scu.CodeNotFound { // a list is never that: some servers don't find who asks
				err = b.refused("list "+under, info.Err)
			}
			return nil, false, err
		}
		key := scu.BlobKey{Kind: kind, Name: strings.TrimPrefix(info.Key, under)}
		if key.Check() != nil {
			continue // not ours
		}
		if more = len(keys) == limit; more {
			break
		}
		keys = append(keys, key)
	}
	all := make([]scu.Blob, len(keys))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(listers)
	for i, key := range keys {
		g.Go(func() (err error) {
			if all[i], err = b.Stat(ctx, key); scu.CodeOf(err) == scu.CodeNotFound {
				return nil // it went meanwhile
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, false, err
	}
	for _, blob := range all {
		if blob.Key.Name != "" {
			page = append(page, blob)
		}
	}
	return page, more, nil
}

// Delete implements scu.Blobs.
func (b *Blobs) Delete(ctx context.Context, key scu.BlobKey) error {
	if _, err := b.Stat(ctx, key); err != nil { // S3 itself says nothing
		return err
	}
	if err := b.core.Client.RemoveObject(ctx, b.bucket, b.object(key), minio.RemoveObjectOptions{}); err != nil {
		return b.failed(ctx, key, "delete", err)
	}
	return nil
}

// Sweep implements scu.Blobs. Parts of an object that was never finished take room, and
// nobody sees them.
func (b *Blobs) Sweep(ctx context.Context, before time.Time) error {
	for _, kind := range scu.BlobKinds {
		under := path.Join(b.prefix, string(kind)) + "/"
		for up := range b.core.Client.ListIncompleteUploads(ctx, b.bucket, under, true) {
			if up.Err != nil {
				return b.failed(ctx, scu.BlobKey{Kind: kind}, "sweep", up.Err)
			}
			if !up.Initiated.Before(before) {
				continue
			}
			err := b.core.AbortMultipartUpload(ctx, b.bucket, up.Key, up.UploadID)
			if err != nil && minio.ToErrorResponse(err).Code != "NoSuchUpload" {
				return b.failed(ctx, scu.BlobKey{Kind: kind}, "sweep", err)
			}
		}
	}
	return folder.SweepFolder(b.dir, before)
}

// failed puts an error of the server, or of the way there, into the service's words.
func (b *Blobs) failed(ctx context.Context, key scu.BlobKey, doing string, err error) error {
	var known *scu.Error
	if errors.As(err, &known) {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	switch r := minio.ToErrorResponse(err); {
	case r.Code == "NoSuchBucket":
		return scu.Errorf(scu.CodeInvalid, "%s %s: there is no bucket %q", doing, key, b.bucket).WithHint("make it, or name another with --blobs")
	case r.Code == "RequestTimeTooSkewed":
		return scu.Errorf(scu.CodeUnavailable, "%s %s: S3 refuses: the clocks of this machine and of the server differ by more than it allows", doing, key).
			WithHint("set the clock of the one that is wrong, as by NTP")
	case r.Code == "InvalidAccessKeyId", r.StatusCode == http.StatusForbidden, r.StatusCode == http.StatusUnauthorized:
		return b.refused(doing+" "+key.String(), err)
	case r.Code == "NoSuchKey", r.StatusCode == http.StatusNotFound, r.Code == "PreconditionFailed":
		return key.NotFound()
	case r.StatusCode == http.StatusInsufficientStorage, r.Code == "QuotaExceeded", r.Code == "XMinioStorageFull":
		return &scu.Error{Code: scu.CodeStorage, Message: doing + " " + key.String() + ": the bucket is full", Hint: "free room there, and try again", Retry: true, Err: err}
	}
	return scu.Errorf(scu.CodeUnavailable, "%s %s: S3: %w", doing, key, err)
}

func (b *Blobs) refused(doing string, err error) error {
	return scu.Errorf(scu.CodeForbidden, "%s: S3 refuses: %s", doing, minio.ToErrorResponse(err).Message).
		WithHint("check the keys, and what they may do in bucket %s", b.bucket)
}

// tries is how often a request is made before it counts as failed.
const tries = 5

// stallTimeout is how long a reading may bring nothing before it is begun anew.
const stallTimeout = 30 * time.Second

// reader reads an object, and goes on where it was if that breaks off.
type reader struct {
	b       *Blobs
	ctx     context.Context
	key     scu.BlobKey
	etag    string
	at, end int64
	failed  int // in a row, without a byte

	body   io.ReadCloser // nil: to be opened
	cancel context.CancelFunc
}

func (r *reader) Read(p []byte) (int, error) {
	for {
		if r.at >= r.end {
			return 0, io.EOF
		}
		n, err := r.read(p[:min(int64(len(p)), r.end-r.at)])
		r.at += int64(n)
		if n > 0 {
			r.failed = 0
			return n, nil
		}
		if err == nil {
			continue
		}
		r.close()
		if r.failed++; r.failed == tries || r.ctx.Err() != nil || scu.CodeOf(err) == scu.CodeNotFound || scu.CodeOf(err) == scu.CodeForbidden {
			return 0, r.b.failed(r.ctx, r.key, "read", err)
		}
	}
}

func (r *reader) read(p []byte) (int, error) {
	if r.body == nil {
		ctx, cancel := context.WithCancel(r.ctx)
		r.cancel = cancel
		var o minio.GetObjectOptions
		if err := errors.Join(o.SetRange(r.at, r.end-1), o.SetMatchETag(r.etag)); err != nil {
			return 0, err
		}
		body, _, _, err := r.b.core.GetObject(ctx, r.b.bucket, r.b.object(r.key), o)
		if err != nil {
			return 0, r.b.failed(r.ctx, r.key, "read", err)
		}
		r.body = body
	}
	stall := time.AfterFunc(stallTimeout, r.cancel)
	defer stall.Stop()
	n, err := r.body.Read(p)
	if err == io.EOF && n == 0 {
		err = io.ErrUnexpectedEOF // its end is known
	}
	return n, err
}

func (r *reader) close() {
	if r.body != nil {
		r.body.Close()
		r.body = nil
	}
	if r.cancel != nil {
		r.cancel()
		r.cancel = nil
	}
}

func (r *reader) Close() error {
	r.close()
	return nil
}
