// Package scu is the domain of a service that fine-tunes causal language models
// with LoRA under a Shannon Control Unit: a PI controller that adapts the
// regularisation strength lambda so that the adapter's share of the information,
// S, stays on target.
//
// This package imports nothing else of the project. It has a job and the states it goes
// through ([Job], [Status], [Phase]), what it is asked to do ([Config]), what it reports
// on each step ([Metrics]), what comes out ([Adapter]), the entries of the state log
// ([Event]), the one vocabulary of errors ([Error]), and what the roles need of each
// other: [Log], [Attempts], [WorkQueue], [MetricsStream], [Adapters], [FileStore], [ReadModel],
// [Roster]. Each folder beside this file adapts one thing to it: api HTTP, broker NATS
// JetStream, store SQL, files a folder, trainer the training itself.
//
// The service's promises:
//
//   - A submission that was answered with a job id is in the log; it is run to an
//     end (completed, failed or cancelled) whatever dies on the way.
//   - Every change of a job's state is one compare-and-set append to the log:
//     of two rivals exactly one wins, and what an old attempt says is refused.
//   - The same job, seed and device type give the same adapter, byte for byte,
//     interrupted or not.
package scu
