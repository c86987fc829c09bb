package trial

import (
	"os"
	"time"
)

// orphanCheck is how often a trial looks whether the process that began it is still there.
const orphanCheck = 250 * time.Millisecond

// endWithParent ends this process once its parent, which could kill it, is gone.
func endWithParent(parent int) {
	for range time.Tick(orphanCheck) {
		if os.Getppid() != parent {
			os.Exit(1)
		}
	}
}
