package main

import (
	"bytes"
	"encoding/hex"
	"testing"
	"time"

	"github.com/shannon-control/scu"
)

// A file of one step is, byte for byte, what TensorBoard's own reader was seen to read.
func TestEventFile(t *testing.T) {
	val := 2.5
	var b bytes.Buffer
	check(t, writeEvents(&b, []scu.Metrics{{Step: 7, CE: 2, Loss: 3, S: 0.25, SHat: 0.5, TargetS: 0.125, Lambda: 4, LearningRate: 1,
		GradNorm: 0.75, ValLoss: &val, TokensPerSecond: 1000, Timestamp: time.Unix(1800000000, 500_000_000).UTC()}}))
	want, err := hex.DecodeString(eventFile)
	check(t, err)
	if !bytes.Equal(b.Bytes(), want) {
		t.Errorf("%x", b.Bytes())
	}
}

// eventFile was read by tensorboard 2.21.0: the version record, then step 7 with ten values.
const eventFile = "" +
	"1a00000000000000129bd82d090000208074d2da4110001a0d627261696e2e4576656e743a32d6a2d6d71c0100000000" +
	"0000cef104c5090000208074d2da4110072a8e020a110a0a6c6f73732f747261696e15000000400a160a0f6c6f73732f" +
	"76616c69646174696f6e15000020400a1c0a156c6f73732f776974685f726567756c61726973657215000040400a130a" +
	"0c636f6e74726f6c6c65722f73150000803e0a1c0a15636f6e74726f6c6c65722f735f736d6f6f74686564150000003f" +
	"0a1a0a13636f6e74726f6c6c65722f7461726765745f73150000003e0a180a11636f6e74726f6c6c65722f6c616d6264" +
	"6115000080400a1e0a176f7074696d697365722f6c6561726e696e675f72617465150000803f0a1a0a136f7074696d69" +
	"7365722f677261645f6e6f726d150000403f0a1e0a1773706565642f746f6b656e735f7065725f7365636f6e64150000" +
	"7a44fa793902"
