//go:build cuda && cgo && linux

package nvml

import (
	"context"
	"testing"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock"
)

// server is a library with two cards, of which the second tells only its name.
func server() *mock.Interface {
	full, slice := device(), device() // the slice is the first of the card with number 3
	slice.IsMigDeviceHandleFunc = func() (bool, nvml.Return) { return true, nvml.SUCCESS }
	slice.GetDeviceHandleFromMigDeviceHandleFunc = func() (nvml.Device, nvml.Return) {
		return &mock.Device{GetIndexFunc: func() (int, nvml.Return) { return 3, nvml.SUCCESS }}, nvml.SUCCESS
	}
	no := nvml.ERROR_NOT_SUPPORTED
	poor := &mock.Device{
		GetUUIDFunc:                    func() (string, nvml.Return) { return "", no },
		GetNameFunc:                    func() (string, nvml.Return) { return "GB10", nvml.SUCCESS },
		GetMemoryInfoFunc:              func() (nvml.Memory, nvml.Return) { return nvml.Memory{}, no },
		GetUtilizationRatesFunc:        func() (nvml.Utilization, nvml.Return) { return nvml.Utilization{}, no },
		GetTemperatureFunc:             func(nvml.TemperatureSensors) (uint32, nvml.Return) { return 0, no },
		GetPowerUsageFunc:              func() (uint32, nvml.Return) { return 0, no },
		GetMigModeFunc:                 func() (int, int, nvml.Return) { return 0, 0, no },
		GetComputeRunningProcessesFunc: func() ([]nvml.ProcessInfo, nvml.Return) { return nil, no },
	}
	return &mock.Interface{
		InitFunc:                   func() nvml.Return { return nvml.SUCCESS },
		SystemGetDriverVersionFunc: func() (string, nvml.Return) { return "580.1", nvml.SUCCESS },
		DeviceGetCountFunc:         func() (int, nvml.Return) { return 3, nvml.SUCCESS },
		DeviceGetHandleByIndexFunc: func(i int) (nvml.Device, nvml.Return) {
			return []nvml.Device{full, nil, poor}[i], []nvml.Return{nvml.SUCCESS, nvml.ERROR_GPU_IS_LOST, nvml.SUCCESS}[i]
		},
		DeviceGetHandleByUUIDFunc: func(uuid string) (nvml.Device, nvml.Return) {
			switch uuid {
			case "GPU-a":
				return full, nvml.SUCCESS
			case "MIG-a":
				return slice, nvml.SUCCESS
			}
			return nil, nvml.ERROR_NOT_FOUND
		},
	}
}

// device is a card that tells everything.
func device() *mock.Device {
	return &mock.Device{
		GetUUIDFunc:             func() (string, nvml.Return) { return "GPU-a", nvml.SUCCESS },
		GetNameFunc:             func() (string, nvml.Return) { return "H100", nvml.SUCCESS },
		GetIndexFunc:            func() (int, nvml.Return) { return 0, nvml.SUCCESS },
		GetMemoryInfoFunc:       func() (nvml.Memory, nvml.Return) { return nvml.Memory{Total: 80 << 30, Free: 70 << 30}, nvml.SUCCESS },
		GetUtilizationRatesFunc: func() (nvml.Utilization, nvml.Return) { return nvml.Utilization{Gpu: 93}, nvml.SUCCESS },
		GetTemperatureFunc:      func(nvml.TemperatureSensors) (uint32, nvml.Return) { return 61, nvml.SUCCESS },
		GetPowerUsageFunc:       func() (uint32, nvml.Return) { return 654_321, nvml.SUCCESS },
		GetMigModeFunc:          func() (int, int, nvml.Return) { return nvml.DEVICE_MIG_ENABLE, 0, nvml.SUCCESS },
		GetComputeRunningProcessesFunc: func() ([]nvml.ProcessInfo, nvml.Return) {
			return []nvml.ProcessInfo{{Pid: 7, UsedGpuMemory: 1 << 30}}, nvml.SUCCESS
		},
		IsMigDeviceHandleFunc: func() (bool, nvml.Return) { return false, nvml.SUCCESS },
		RegisterEventsFunc:    func(uint64, nvml.EventSet) nvml.Return { return nvml.SUCCESS },
	}
}

// A card tells what it knows; one that is lost or poor doesn't hide the others.
func TestCards(t *testing.T) {
	l := newLibrary(server())
	cards, err := l.cards()
	if err != nil || len(cards) != 2 {
		t.Fatalf("%+v, %v", cards, err)
	}
	a, b := cards[0], cards[1]
	if a.UUID != "GPU-a" || a.Total != 80<<30 || a.Free != 70<<30 || a.Utilisation != 93 || a.Temperature != 61 || a.Watts != 654 || !a.MIG ||
		len(a.Processes) != 1 || a.Processes[0] != (Process{7, 1 << 30}) {
		t.Errorf("%+v", a)
	}
	if b.Number != 2 || b.Name != "GB10" || b.Total != 0 || b.MIG || b.Processes != nil {
		t.Errorf("%+v", b)
	}
	if c, ok := l.read("GPU-a"); !ok || c.Name != "H100" {
		t.Errorf("%+v, %v", c, ok)
	}
	if c, ok := l.read("MIG-a"); !ok || c.Number != 3 {
		t.Errorf("a slice has the number %d, want its card's, 3", c.Number)
	}
	if _, ok := l.read("GPU-b"); ok {
		t.Error("a card that isn't there")
	}
}

// Where the library isn't, nothing of it is called but its start, and that once.
func TestNoLibrary(t *testing.T) {
	absent := &mock.Interface{InitFunc: func() nvml.Return { return nvml.ERROR_LIBRARY_NOT_FOUND }} // others panic
	l := newLibrary(absent)
	for range 2 {
		if _, err := l.cards(); err == nil {
			t.Error("cards without a library")
		}
		if _, err := l.driver(); err == nil {
			t.Error("a driver without a library")
		}
		if _, ok := l.read("GPU-a"); ok {
			t.Error("a card without a library")
		}
		if err := l.watch(t.Context(), []string{"GPU-a"}, nil); err == nil {
			t.Error("faults without a library")
		}
	}
	if n := len(absent.InitCalls()); n != 1 {
		t.Errorf("started %d times", n)
	}
}

// Faults are reported with their card until nobody wants them.
func TestWatch(t *testing.T) {
	api := server()
	ctx, stop := context.WithCancel(t.Context())
	device, _ := api.DeviceGetHandleByUUID("GPU-a")
	events := []nvml.EventData{{Device: device, EventType: nvml.EventTypeXidCriticalError, EventData: 79}, {Device: device, EventType: nvml.EventTypeDoubleBitEccError}}
	api.EventSetCreateFunc = func() (nvml.EventSet, nvml.Return) {
		return &mock.EventSet{
			FreeFunc: func() nvml.Return { return nvml.SUCCESS },
			WaitFunc: func(uint32) (e nvml.EventData, r nvml.Return) {
				if len(events) == 0 {
					stop()
					return e, nvml.ERROR_TIMEOUT
				}
				e, events = events[0], events[1:]
				return e, nvml.SUCCESS
			},
		}, nvml.SUCCESS
	}
	var got []Fault
	if err := newLibrary(api).watch(ctx, []string{"GPU-a", "GPU-b"}, func(f Fault) { got = append(got, f) }); err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got[0] != (Fault{"GPU-a", 79}) || got[1] != (Fault{"GPU-a", 0}) {
		t.Errorf("%+v", got)
	}
}
