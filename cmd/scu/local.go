package main

import (
	"context"
	"os"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/devices"
	"github.com/shannon-control/scu/trainer/base"
	"github.com/shannon-control/scu/trainer/hub"
	"github.com/shannon-control/scu/trainer/lora"
)

// What the commands share that work here, without a server.

// localFlags gives a command the flags that name its base model, and with config
// those of a run's configuration. A command that can't do without a base model
// says so itself.
func localFlags(c *cobra.Command, t *submission, config bool) {
	f := c.Flags()
	f.StringVar(&t.baseModel, "base-model", "", `"bookworm-2m" (built in), a model folder, or a Hugging Face model id`)
	completes(c, "base-model", completeModels)
	if config {
		f.StringVar(&t.configFile, "config", "", "JSON file of configuration fields that differ from their defaults")
		f.StringArrayVar(&t.set, "set", nil, "one configuration field, such as block_size=256; overrides --config, may be repeated")
	}
	addFlags(f, []string{"threads", "hf-token"})
}

// adapterUsage is the help of --adapter.
const adapterUsage = "LoRA adapter: a folder, as scu download makes it, or a job of the server, or JOB@STEP, a checkpoint of it"

// baseOf takes the base model from an adapter's folder if none was named.
func (t *submission) baseOf(adapter string) error {
	if t.baseModel != "" {
		return nil
	}
	if adapter == "" {
		return scu.Errorf(scu.CodeInvalid, "neither a base model nor an adapter is named").At("base_model").WithHint("use --base-model, --adapter, or both")
	}
	_, name, err := lora.ReadConfig(adapter)
	if err != nil {
		return base.Within("adapter", err)
	}
	if name == "" {
		return scu.Errorf(scu.CodeInvalid, "the adapter doesn't name its base model").At("base_model").WithHint("use --base-model")
	}
	t.baseModel = name
	return nil
}

// local checks the flags, and gives the model's name and the configuration.
func (t *submission) local() (model string, cfg scu.Config, err error) {
	req, err := t.request()
	if err != nil {
		return "", cfg, err
	}
	cfg = scu.DefaultConfig()
	return req.BaseModel, cfg, cfg.Merge(req.ConfigOverrides)
}

// withModel calls f with what find (a method of base.Finder) gives for a base model,
// and shows how much of it is fetched from the Hub, where it has to be.
func withModel[M any](ctx context.Context, a *app, s Settings, name string, find func(*base.Finder, context.Context, string) (M, error), f func(M) error) error {
	tmp, err := os.MkdirTemp("", "scu-model-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	finder := &base.Finder{Dir: tmp, Hub: newHub(s), Folders: []string{"."}}
	progress, done := a.fileBars()
	finder.Hub.Progress = progress
	m, err := find(finder, ctx, name)
	done()
	if err != nil {
		return err
	}
	return f(m)
}

// fileBars shows how much of each file went over; done ends that.
func (a *app) fileBars() (progress func(file string, done, total int64), done func()) {
	bars := map[string]client.Progress{}
	var ends []func()
	return func(file string, n, total int64) {
			if bars[file] == nil {
				show, end := a.bytesBar("downloading " + file)
				if show == nil {
					show = func(int64, int64) {}
				}
				bars[file], ends = show, append(ends, end)
			}
			bars[file](n, total)
		}, func() {
			for _, end := range ends {
				end()
			}
		}
}

// localThreads is how many threads such a command computes with.
func (s *Settings) localThreads() int {
	if s.Threads > 0 {
		return s.Threads
	}
	return runtime.GOMAXPROCS(0)
}

// withDevice calls f with a device.
func (s *Settings) withDevice(f func(kernels.Device) error) error {
	dev, err := devices.Default(s.localThreads()).Open(devices.FP32)
	if err != nil {
		return err
	}
	defer dev.Close()
	return f(dev)
}

// newHub makes the client of the Hugging Face Hub.
func newHub(s Settings) *hub.Client {
	h := hub.FromEnv()
	if s.HFToken != "" {
		h.Token = hub.Token(s.HFToken)
	}
	return h
}
