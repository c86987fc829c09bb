//go:build cuda && cgo && linux

package nvml

import (
	"context"
	"fmt"
	"sync"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
)

// library is NVML once it is started. Where its start failed nothing else of it may be
// called: a function that isn't there ends the process.
type library struct {
	api   nvml.Interface
	start func() error
}

func newLibrary(api nvml.Interface) *library {
	return &library{api, sync.OnceValue(func() error { return fault("nvmlInit", api.Init()) })}
}

var installed = newLibrary(nvml.New())

// Driver returns the version of NVIDIA's driver.
func Driver() (string, error) { return installed.driver() }

// Cards lists the machine's GPUs.
func Cards() ([]Card, error) { return installed.cards() }

// Read returns a card, or a slice of one, by its UUID; ok reports whether anything is known of it.
func Read(uuid string) (c Card, ok bool) { return installed.read(uuid) }

// Watch reports faults of the cards with these UUIDs until ctx ends.
func Watch(ctx context.Context, uuids []string, report func(Fault)) error {
	return installed.watch(ctx, uuids, report)
}

func fault(call string, r nvml.Return) error {
	switch r {
	case nvml.SUCCESS:
		return nil
	case nvml.ERROR_LIBRARY_NOT_FOUND:
		return fmt.Errorf("%s: libnvidia-ml.so.1 isn't installed", call)
	}
	return fmt.Errorf("%s: NVML error %d", call, int(r)) // its own texts need the library
}

func (l *library) driver() (string, error) {
	if err := l.start(); err != nil {
		return "", err
	}
	version, r := l.api.SystemGetDriverVersion()
	return version, fault("nvmlSystemGetDriverVersion", r)
}

func (l *library) cards() ([]Card, error) {
	if err := l.start(); err != nil {
		return nil, err
	}
	n, r := l.api.DeviceGetCount()
	if err := fault("nvmlDeviceGetCount", r); err != nil {
		return nil, err
	}
	var all []Card
	for i := range n {
		d, r := l.api.DeviceGetHandleByIndex(i)
		if r != nvml.SUCCESS { // one that fell off the bus doesn't hide the others
			continue
		}
		c := describe(d)
		c.Number = i
		all = append(all, c)
	}
	return all, nil
}

func (l *library) read(uuid string) (c Card, ok bool) {
	if uuid == "" || l.start() != nil {
		return c, false
	}
	d, r := l.api.DeviceGetHandleByUUID(uuid)
	if r != nvml.SUCCESS {
		return c, false
	}
	c = describe(d)
	if slice, r := d.IsMigDeviceHandle(); r == nvml.SUCCESS && slice { // whose index is that among its card's slices
		if d, r = d.GetDeviceHandleFromMigDeviceHandle(); r != nvml.SUCCESS {
			return c, true
		}
	}
	if number, r := d.GetIndex(); r == nvml.SUCCESS {
		c.Number = number
	}
	return c, true
}

// describe asks a card for everything; what it doesn't know stays 0.
func describe(d nvml.Device) (c Card) {
	c.UUID, _ = d.GetUUID()
	c.Name, _ = d.GetName()
	if m, r := d.GetMemoryInfo(); r == nvml.SUCCESS {
		c.Total, c.Free = int64(m.Total), int64(m.Free)
	}
	if u, r := d.GetUtilizationRates(); r == nvml.SUCCESS {
		c.Utilisation = int(u.Gpu)
	}
	if t, r := d.GetTemperature(nvml.TEMPERATURE_GPU); r == nvml.SUCCESS {
		c.Temperature = int(t)
	}
	if w, r := d.GetPowerUsage(); r == nvml.SUCCESS {
		c.Watts = int(w / 1000)
	}
	if now, _, r := d.GetMigMode(); r == nvml.SUCCESS {
		c.MIG = now == nvml.DEVICE_MIG_ENABLE
	}
	if ps, r := d.GetComputeRunningProcesses(); r == nvml.SUCCESS {
		for _, p := range ps {
			c.Processes = append(c.Processes, Process{int(p.Pid), int64(p.UsedGpuMemory)})
		}
	}
	return c
}

// each is how long one wait for an event lasts, in milliseconds, and so how late watch ends.
const each = 1000

func (l *library) watch(ctx context.Context, uuids []string, report func(Fault)) error {
	if err := l.start(); err != nil {
		return err
	}
	set, r := l.api.EventSetCreate()
	if err := fault("nvmlEventSetCreate", r); err != nil {
		return err
	}
	defer set.Free()
	watched := 0
	for _, uuid := range uuids {
		if d, r := l.api.DeviceGetHandleByUUID(uuid); r == nvml.SUCCESS &&
			d.RegisterEvents(nvml.EventTypeXidCriticalError|nvml.EventTypeDoubleBitEccError, set) == nvml.SUCCESS {
			watched++
		}
	}
	if watched == 0 {
		return fmt.Errorf("NVML tells no faults of these GPUs")
	}
	for ctx.Err() == nil {
		switch e, r := set.Wait(each); r {
		case nvml.SUCCESS:
			f := Fault{}
			if e.Device != nil {
				f.UUID, _ = e.Device.GetUUID()
			}
			if e.EventType == nvml.EventTypeXidCriticalError {
				f.Xid = int(e.EventData)
			}
			report(f)
		case nvml.ERROR_TIMEOUT:
		default:
			return fault("nvmlEventSetWait", r)
		}
	}
	return nil
}
