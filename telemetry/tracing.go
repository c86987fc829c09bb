package telemetry

import (
	"context"
	"os"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"
)

// flushTime bounds the sending of the last spans when a process ends.
const flushTime = 5 * time.Second

// Trace sends spans to the collector that OpenTelemetry's own variables name
// (OTEL_EXPORTER_OTLP_ENDPOINT and its like), by OTLP over HTTP, until close. Without
// such a variable nothing is traced and nothing is sent.
func Trace(ctx context.Context, role, version string) (close func(), err error) {
	if os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") == "" && os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") == "" {
		return func() {}, nil
	}
	to, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, err
	}
	p := trace.NewTracerProvider(trace.WithBatcher(to), trace.WithResource(resource.NewSchemaless(
		attribute.String("service.name", "scu-"+role), attribute.String("service.version", version))))
	otel.SetTracerProvider(p)
	otel.SetTextMapPropagator(propagation.TraceContext{})
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), flushTime)
		defer cancel()
		_ = p.Shutdown(ctx) // a collector that is away must not hold up the end
	}, nil
}
