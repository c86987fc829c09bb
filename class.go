package scu

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Resource classes stand on the queue's subjects, so that a trainer is never handed a job
// that it can't hold:
//
//	cpu       jobs of a service without GPUs
//	gpu-24    jobs that a card of 24 GB holds; a trainer takes its card's class and all below
//	gpu-id-3  jobs that name GPU 3: only its trainer takes them
//	gpu       jobs whose memory isn't known, and those that older versions queued: every GPU's
const gpuFamily = "gpu"

// gpuSizes are the memory classes in GB, as cards are sold.
var gpuSizes = []int{4, 8, 16, 24, 40, 48, 80, 141, 180, 288}

// usable is the share of its nominal memory that a card of a class has at least: error
// correction and the driver take some.
const usable = 0.9

// GPUContext is the memory in bytes that the driver takes of a card for a process that
// computes on it: some 290 MiB were measured on an H100, with code and without a stack.
const GPUContext = 320 << 20

func gpuClass(size int) string { return gpuFamily + "-" + strconv.Itoa(size) }

// cardOf is the least memory of a card of a class, in bytes.
func cardOf(size int) int64 { return int64(usable * float64(int64(size)<<30)) }

// GPUIDClass is the class of jobs that name a GPU by number.
func GPUIDClass(number int) string { return gpuFamily + "-id-" + strconv.Itoa(number) }

// ClassesOfGPU lists the classes that a GPU's trainer takes, by the card's memory in
// bytes and its number: its own size first, then the smaller ones.
func ClassesOfGPU(memory int64, number int) []string {
	classes := []string{GPUIDClass(number)}
	for _, size := range slices.Backward(gpuSizes) {
		if memory >= cardOf(size) {
			classes = append(classes, gpuClass(size))
		}
	}
	return append(classes, gpuFamily)
}

// GPUClassFor is the smallest class whose cards have so many bytes for a job, above the
// driver's share; "" if none has.
func GPUClassFor(need int64) string {
	for _, size := range gpuSizes {
		if cardOf(size)-GPUContext >= need {
			return gpuClass(size)
		}
	}
	return ""
}

// ClassFamily is what a class's trainers compute on: "gpu" of "gpu-24" and of "gpu-id-3".
func ClassFamily(class string) string {
	if class == gpuFamily || strings.HasPrefix(class, gpuFamily+"-") {
		return gpuFamily
	}
	return class
}

// GPUSize is the memory of a class's cards in GB; ok reports whether class is a memory class.
func GPUSize(class string) (size int, ok bool) {
	text, found := strings.CutPrefix(class, gpuFamily+"-")
	size, err := strconv.Atoi(text)
	return size, found && err == nil && slices.Contains(gpuSizes, size)
}

// ServedBy says for people what trainer a class waits for.
func ServedBy(class string) string {
	if number, ok := strings.CutPrefix(class, gpuFamily+"-id-"); ok {
		return "a trainer with GPU " + number
	}
	if size, ok := GPUSize(class); ok {
		return fmt.Sprintf("a trainer with a GPU of %d GB or more", size)
	}
	switch class {
	case gpuFamily:
		return "a trainer with a GPU"
	case "cpu":
		return "a trainer without GPUs (SCU_DEVICE=cpu)"
	}
	return "a trainer of class " + class
}
