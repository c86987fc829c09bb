package data

import (
	"errors"

	controls "github.com/nikolalohinski/gonja/v2/builtins/control_structures"
	"github.com/nikolalohinski/gonja/v2/exec"
	"github.com/nikolalohinski/gonja/v2/nodes"
	"github.com/nikolalohinski/gonja/v2/parser"
	"github.com/nikolalohinski/gonja/v2/tokens"
)

// A chat template is a program from elsewhere. What it may take is bounded: by these
// it ends in seconds, and an endless recursion is an error instead of the end of the
// process.
const (
	maxTemplate = 1 << 20  // bytes of source
	maxNesting  = 100      // brackets in brackets, and calls in calls
	maxSteps    = 200_000  // rounds of loops and calls of macros, in one rendering
	maxOutput   = 64 << 20 // bytes written
	maxRange    = 100_000  // numbers of one range()
)

// meterName is where a rendering's meter lies in its context.
const meterName = "__meter__"

// meter counts what one rendering takes.
type meter struct{ steps, depth int }

func (m *meter) step() error {
	if m.steps++; m.steps > maxSteps {
		return errors.New("the template doesn't come to an end")
	}
	return nil
}

func meterOf(c *exec.Context) (*meter, error) {
	v, _ := c.Get(meterName)
	m, ok := v.(*meter)
	if !ok {
		return nil, errors.New("the template uses a name of ours, " + meterName)
	}
	return m, nil
}

// step is a statement that counts one step.
type step struct{ at *tokens.Token }

func (s step) Position() *tokens.Token { return s.at }
func (s step) String() string          { return "step" }

func (s step) Execute(r *exec.Renderer, _ *nodes.ControlStructureBlock) error {
	m, err := meterOf(r.Environment.Context)
	if err != nil {
		return err
	}
	return m.step()
}

// meteredFor makes every round of a loop count.
func meteredFor(parse parser.ControlStructureParser) parser.ControlStructureParser {
	return func(p, args *parser.Parser) (nodes.ControlStructure, error) {
		c, err := parse(p, args)
		if err != nil {
			return nil, err
		}
		body := c.(*controls.ForControlStructure).BodyWrapper
		body.Nodes = append([]nodes.Node{&nodes.ControlStructureBlock{Location: body.Position(), ControlStructure: step{body.Position()}}}, body.Nodes...)
		return c, nil
	}
}

// meteredMacro makes every call of a macro count, and bounds calls in calls.
func meteredMacro(parse parser.ControlStructureParser) parser.ControlStructureParser {
	return func(p, args *parser.Parser) (nodes.ControlStructure, error) {
		c, err := parse(p, args)
		if err != nil {
			return nil, err
		}
		return macro{c.(*controls.MacroControlStructure)}, nil
	}
}

type macro struct {
	*controls.MacroControlStructure
}

func (m macro) Execute(r *exec.Renderer, tag *nodes.ControlStructureBlock) error {
	if err := m.MacroControlStructure.Execute(r, tag); err != nil {
		return err
	}
	defined, _ := r.Environment.Context.Get(m.Name)
	call := defined.(exec.Macro)
	meter, err := meterOf(r.Environment.Context)
	if err != nil {
		return err
	}
	r.Environment.Context.Set(m.Name, exec.Macro(func(params *exec.VarArgs) *exec.Value {
		if err := meter.step(); err != nil {
			return exec.AsValue(err)
		}
		if meter.depth == maxNesting {
			return exec.AsValue(errors.New("the template calls itself without an end"))
		}
		meter.depth++
		defer func() { meter.depth-- }()
		return call(params)
	}))
	return nil
}
