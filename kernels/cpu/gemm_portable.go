package cpu

// The micro-kernel for machines without vector instructions that we know.

import "unsafe"

const portableLanes = 4

var portableSIMD = simd{
	rows: 2, lanes: portableLanes,
	mul:       mulPortable,
	transpose: transposePortable,
	spread:    spreadPortable,
	widenBF16: widenBF16Portable,
	widenF16:  widenF16Portable,
	widenNF4:  widenNF4Portable,
}

// mulPortable computes a tile two rows and four columns at a time.
func mulPortable(t *tile) {
	for q := 0; q < t.cols; q += portableLanes {
		var x, y [portableLanes]float32
		a0 := unsafe.Pointer(t.a)
		a1 := a0
		if t.rows > 1 {
			a1 = unsafe.Add(a0, t.aRow)
		}
		b := unsafe.Pointer(t.b)
		at := 4 * q
		ap := 0
		for range t.k {
			u, v := *(*float32)(unsafe.Add(a0, ap)), *(*float32)(unsafe.Add(a1, ap))
			row := (*[portableLanes]float32)(unsafe.Add(b, at))
			x[0] += u * row[0]
			x[1] += u * row[1]
			x[2] += u * row[2]
			x[3] += u * row[3]
			y[0] += v * row[0]
			y[1] += v * row[1]
			y[2] += v * row[2]
			y[3] += v * row[3]
			ap += t.aStep
			at += t.bStep
		}
		n := min(portableLanes, t.cols-q)
		t.finish(x[:n], 0, q)
		if t.rows > 1 {
			t.finish(y[:n], 1, q)
		}
	}
}

// finish stores sums as row i of the tile from column q on.
func (t *tile) finish(sums []float32, i, q int) {
	c := unsafe.Slice((*float32)(unsafe.Add(unsafe.Pointer(t.c), i*t.cRow+4*q)), len(sums))
	for j, sum := range sums {
		v := t.alpha * sum
		if t.beta != 0 {
			v += t.beta * c[j]
		}
		if t.bias != nil {
			v += *(*float32)(unsafe.Add(unsafe.Pointer(t.bias), 4*(q+j)))
		}
		c[j] = v
	}
}
