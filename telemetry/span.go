package telemetry

import (
	"context"
	"net/http"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
)

// Span runs f as a span of the trace that ctx belongs to. It costs next to nothing if
// nothing is traced; see Trace.
func Span(ctx context.Context, name string, f func(context.Context) error, attributes ...attribute.KeyValue) error {
	ctx, span := otel.Tracer("github.com/shannon-control/scu").Start(ctx, name)
	defer span.End()
	span.SetAttributes(attributes...)
	err := f(ctx)
	if err != nil {
		span.RecordError(err)
		span.SetStatus(codes.Error, err.Error())
	}
	return err
}

// Parent is the span that ctx is in, as the traceparent of W3C Trace Context; "" if
// nothing is traced.
func Parent(ctx context.Context) string {
	c := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, c)
	return c.Get("traceparent")
}

// Under returns ctx within the span that Parent told elsewhere, or ctx itself if parent
// is none.
func Under(ctx context.Context, parent string) context.Context {
	return propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{"traceparent": parent})
}

// Mark adds the span that ctx is in to the headers of a message.
func Mark(ctx context.Context, h map[string][]string) {
	propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(http.Header(h)))
}
