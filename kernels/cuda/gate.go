//go:build cuda && cgo && linux

package cuda

import (
	"fmt"

	"github.com/shannon-control/scu/kernels"
)

type activationArgs struct {
	dst, dup, x, up, dy view
	act, _              int32
}

func (d *device) activation(name string, act kernels.Activation, p activationArgs) {
	if act > kernels.ReLU {
		panic(fmt.Sprintf("cuda: no activation %d", act))
	}
	p.act = int32(act)
	ok := p.dst.rows > 0 && p.dst.cols > 0
	a := gateArgs{Cols: p.dst.cols, Activation: int32(act)}
	a.Gate, a.GateRow = p.x.row(&ok)
	a.Up, a.UpRow = p.up.row(&ok)
	a.DY, a.DYRow = p.dy.row(&ok)
	if p.dy.data == 0 {
		a.Y, a.YRow = p.dst.row(&ok)
	} else {
		a.DGate, a.DGateRow = p.dst.row(&ok)
		a.DUp, a.DUpRow = p.dup.row(&ok)
	}
	if ok && d.activations != kernels.F32 && a.fast(d.activations) { // it approximates exponentials
		d.run(gate(name, d.activations, int(p.dst.rows), a))
		return
	}
	launch(d, "activation."+name, gridOf(p.dst), threads, p)
}

func (d *device) Activate(act kernels.Activation, dst, x kernels.Mat) {
	m := func(x kernels.Mat) view { return d.active("Activate", x, dst.Rows, dst.Cols) }
	d.activation("activate", act, activationArgs{dst: m(dst), x: m(x)})
}

func (d *device) ActivateGrad(act kernels.Activation, dx, x, dy kernels.Mat) {
	m := func(x kernels.Mat) view { return d.active("ActivateGrad", x, dx.Rows, dx.Cols) }
	d.activation("activate_grad", act, activationArgs{dst: m(dx), x: m(x), dy: m(dy)})
}

func (d *device) Gate(act kernels.Activation, dst, gate, up kernels.Mat) {
	m := func(x kernels.Mat) view { return d.active("Gate", x, dst.Rows, dst.Cols) }
	d.activation("gate", act, activationArgs{dst: m(dst), x: m(gate), up: m(up)})
}

func (d *device) GateGrad(act kernels.Activation, dgate, dup, gate, up, dy kernels.Mat) {
	m := func(x kernels.Mat) view { return d.active("GateGrad", x, dgate.Rows, dgate.Cols) }
	d.activation("gate_grad", act, activationArgs{dst: m(dgate), dup: m(dup), x: m(gate), up: m(up), dy: m(dy)})
}
