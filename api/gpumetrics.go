package api

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/shannon-control/scu"
)

// gpuMetrics are how trainers' GPUs fare, as their drivers tell.
var gpuMetrics = [...]*prometheus.Desc{
	prometheus.NewDesc("scu_gpu_memory_free_bytes", "Memory of a trainer's GPU that no process has.", []string{"trainer", "gpu"}, nil),
	prometheus.NewDesc("scu_gpu_memory_bytes", "Memory of a trainer's GPU.", []string{"trainer", "gpu"}, nil),
	prometheus.NewDesc("scu_gpu_utilisation_ratio", "Share of the last second or less in which the GPU computed.", []string{"trainer", "gpu"}, nil),
	prometheus.NewDesc("scu_gpu_temperature_celsius", "Temperature of the GPU.", []string{"trainer", "gpu"}, nil),
	prometheus.NewDesc("scu_gpu_power_watts", "Power that the GPU takes.", []string{"trainer", "gpu"}, nil),
}

// gpuGauges tells the figures of a trainer's GPU, if it has one.
func gpuGauges(gauge func(d *prometheus.Desc, value float64, labels ...string), p scu.Presence) {
	if p.GPU == nil {
		return
	}
	for i, value := range [...]float64{float64(p.GPU.Free), float64(p.GPU.Total), float64(p.GPU.Utilisation) / 100, float64(p.GPU.Temperature), float64(p.GPU.Watts)} {
		gauge(gpuMetrics[i], value, p.Trainer, p.GPU.UUID)
	}
}
