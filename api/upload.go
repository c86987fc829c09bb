package api

import (
	"context"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/shannon-control/scu"
)

const (
	// multipartOverhead is the room that a form has beside its file.
	multipartOverhead = 64 << 10
	// stallTime is how long an upload may stand still.
	stallTime = time.Minute
	// leastRate is the bytes a second that an upload comes in with on the whole, after
	// stallTime.
	leastRate = 1 << 10
)

// uploadInput takes the request's body as a stream: huma would read it whole.
type uploadInput struct {
	body          *untilStalled
	contentType   string
	contentLength string
}

func (in *uploadInput) Resolve(ctx huma.Context) []error {
	in.body = &untilStalled{ctx: ctx.Context(), r: ctx.BodyReader(), deadline: ctx.SetReadDeadline}
	in.contentType, in.contentLength = ctx.Header("Content-Type"), ctx.Header("Content-Length")
	return nil
}

// upload stores the file of a form. Other fields are passed over.
func (s *Server) upload(ctx context.Context, in *uploadInput) (*reply[scu.File], error) {
	f, err := s.receive(ctx, in, func(map[string]string) error { return nil })
	if err != nil {
		return nil, err
	}
	return answer(f), nil
}

// receive stores the part "file" of a multipart form, which may have one, if check allows
// the form's other fields, which may come after it.
func (s *Server) receive(ctx context.Context, in *uploadInput, check func(fields map[string]string) error) (f scu.File, err error) {
	kind, params, err := mime.ParseMediaType(in.contentType)
	if err != nil || kind != "multipart/form-data" || params["boundary"] == "" {
		return f, refuse(http.StatusUnsupportedMediaType, scu.Errorf(scu.CodeUnsupported, "an upload is multipart/form-data, not %.60q", in.contentType).
			WithHint("curl -F file=@train.txt <server>/files"))
	}
	if n, err := strconv.ParseInt(in.contentLength, 10, 64); err == nil {
		most := s.limits(callerOf(ctx).owner).Bytes
		switch least := n - multipartOverhead; {
		case least > s.o.MaxFileBytes:
			return f, scu.Errorf(scu.CodeTooLarge, "%d bytes, more than the %d allowed", n, s.o.MaxFileBytes).At("file").WithHint("split the file")
		case most > 0 && least > most:
			return f, scu.Errorf(scu.CodeTooLarge, "%d bytes, more than the %d that its owner may keep in all", n, most).At("file").WithHint("the administrator sets the limit")
		}
	}
	form := multipart.NewReader(in.body, params["boundary"])
	fields, skipped := map[string]string{}, 0
	var staged scu.StagedFile
	for {
		part, err := form.NextPart()
		if errors.Is(err, io.EOF) && staged != nil {
			break
		}
		if errors.Is(err, io.EOF) {
			return f, scu.Errorf(scu.CodeInvalid, "the form has no file").At("file").WithHint("name the form's field %q", "file")
		}
		if err != nil {
			return f, brokenForm(err)
		}
		if part.FormName() != "file" {
			value, err := io.ReadAll(io.LimitReader(part, multipartOverhead))
			if err != nil {
				return f, brokenForm(err)
			}
			fields[part.FormName()] = string(value)
			if skipped += len(part.FormName()) + len(value); skipped >= multipartOverhead {
				return f, scu.Errorf(scu.CodeTooLarge, "the form has too much data besides its file").WithHint("name the form's field %q", "file")
			}
			continue
		}
		name := scu.SafeFileName(part.FileName())
		if staged != nil {
			return f, scu.Errorf(scu.CodeInvalid, "the form has two files, %q and %q; neither is kept", staged.File().Name, name).At("file").
				WithHint("send each in a request of its own")
		}
		content, err := notEmpty(formReader{part})
		if err != nil {
			return f, within("file", err)
		}
		if staged, err = s.stageFile(ctx, name, content); err != nil {
			return f, within("file", err)
		}
		defer staged.Drop()
	}
	if err := check(fields); err != nil {
		return f, err
	}
	if err := staged.Keep(ctx); err != nil {
		return f, within("file", err)
	}
	return staged.File(), nil
}

// formReader makes a body that breaks off the client's fault.
type formReader struct{ r io.Reader }

func (f formReader) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if err != nil && err != io.EOF {
		err = brokenForm(err)
	}
	return n, err
}

func brokenForm(err error) error {
	return scu.Errorf(scu.CodeInvalid, "the upload broke off or is not a valid form: %w", err).At("file").WithHint("send it again")
}

// untilStalled gives up on a client that sends nothing for stallTime, or less than
// leastRate. At its end the deadline goes: it would end the request in the middle of what
// is then done with the file, which may take long.
type untilStalled struct {
	ctx      context.Context // ends the request, whatever comes
	r        io.Reader
	deadline func(time.Time) error
	begun    time.Time
	got      int64
}

func (u *untilStalled) Read(p []byte) (int, error) {
	now := time.Now()
	if u.begun.IsZero() {
		u.begun = now
	}
	end := now.Add(stallTime)
	if due := u.begun.Add(stallTime + time.Duration(u.got)*(time.Second/leastRate)); due.Before(end) {
		end = due
	}
	u.deadline(end)
	woken := make(chan struct{})
	stop := context.AfterFunc(u.ctx, func() { defer close(woken); u.deadline(now) }) // what waits for the client, waits no more
	n, err := u.r.Read(p)
	if !stop() {
		<-woken
	}
	u.got += int64(n)
	if err == io.EOF {
		u.deadline(time.Time{})
	}
	return n, err
}
