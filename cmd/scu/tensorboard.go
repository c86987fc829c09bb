package main

import (
	"encoding/binary"
	"hash/crc32"
	"io"
	"math"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/shannon-control/scu"
)

// writeEvents writes steps as TensorBoard's event file: records of TensorFlow's TFRecord
// form (length, masked CRC, data, masked CRC) with a message Event each (tensorflow's
// event.proto and summary.proto).
func writeEvents(w io.Writer, steps []scu.Metrics) error {
	var first time.Time
	if len(steps) > 0 {
		first = steps[0].Timestamp
	}
	version := protowire.AppendTag(event(first, 0), 3, protowire.BytesType) // file_version
	if err := writeRecord(w, protowire.AppendString(version, "brain.Event:2")); err != nil {
		return err
	}
	for _, m := range steps {
		var summary []byte
		add := func(tag string, value float64) {
			v := protowire.AppendTag(nil, 1, protowire.BytesType) // tag
			v = protowire.AppendString(v, tag)
			v = protowire.AppendTag(v, 2, protowire.Fixed32Type) // simple_value
			v = protowire.AppendFixed32(v, math.Float32bits(float32(value)))
			summary = protowire.AppendTag(summary, 1, protowire.BytesType) // value
			summary = protowire.AppendBytes(summary, v)
		}
		add("loss/train", m.CE)
		if m.ValLoss != nil {
			add("loss/validation", *m.ValLoss)
		}
		add("loss/with_regulariser", m.Loss)
		add("controller/s", m.S)
		add("controller/s_smoothed", m.SHat)
		add("controller/target_s", m.TargetS)
		add("controller/lambda", m.Lambda)
		add("optimiser/learning_rate", m.LearningRate)
		add("optimiser/grad_norm", m.GradNorm)
		add("speed/tokens_per_second", m.TokensPerSecond)
		e := protowire.AppendTag(event(m.Timestamp, m.Step), 5, protowire.BytesType) // summary
		if err := writeRecord(w, protowire.AppendBytes(e, summary)); err != nil {
			return err
		}
	}
	return nil
}

// event begins an Event with its wall_time, in seconds, and its step.
func event(at time.Time, step int) []byte {
	e := protowire.AppendTag(nil, 1, protowire.Fixed64Type)
	e = protowire.AppendFixed64(e, math.Float64bits(float64(at.UnixMicro())/1e6))
	e = protowire.AppendTag(e, 2, protowire.VarintType)
	return protowire.AppendVarint(e, uint64(step))
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// masked is a CRC as TFRecord has it, so that a CRC of data with CRCs stays a good one.
func masked(b []byte) uint32 {
	c := crc32.Checksum(b, castagnoli)
	return (c>>15 | c<<17) + 0xa282ead8
}

func writeRecord(w io.Writer, data []byte) error {
	head := binary.LittleEndian.AppendUint64(nil, uint64(len(data)))
	head = binary.LittleEndian.AppendUint32(head, masked(head))
	_, err := w.Write(append(append(head, data...), binary.LittleEndian.AppendUint32(nil, masked(data))...))
	return err
}
