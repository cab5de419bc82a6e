package v1

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// defaultTimeout of one run of a source, as in the schemas.
const defaultTimeout = time.Minute

func timeoutOf(timeout *metav1.Duration) time.Duration {
	if timeout == nil {
		return defaultTimeout
	}
	return timeout.Duration
}
