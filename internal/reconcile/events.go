package reconcile

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/record"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/headwater-dev/headwater/api/meta"
)

// Severities of events, as FLUX.md §2.5 has them.
const (
	SeverityInfo  = "info"
	SeverityError = "error"
	// SeverityTrace events become Kubernetes Events only; they are not posted.
	SeverityTrace = "trace"
)

const (
	postTimeout   = 5 * time.Second
	postQueueSize = 1000
)

// postBackoff spreads the attempts to post one event over about 15 seconds.
var postBackoff = wait.Backoff{Duration: 500 * time.Millisecond, Factor: 2, Jitter: 0.2, Steps: 6}

// Event is something that a person may want to know of an object.
type Event struct {
	// Severity is info, error or trace. An error becomes a Warning.
	Severity string
	// Reason in CamelCase.
	Reason string
	// Message in one sentence or a list of lines, without secrets.
	Message string
	// Metadata goes into the annotations of the Kubernetes Event and into the
	// posted event. Keys start with the object's API group.
	Metadata map[string]string
}

// Recorder publishes events: as Kubernetes Events, and with an address as POSTs
// to a notification controller (FLUX.md §2.5). It never blocks a reconcile: posts
// go out from a bounded queue, and those that find it full are dropped with a log
// line. It is safe for concurrent use; Start must run for posts to go out.
type Recorder struct {
	// Kubernetes records the Kubernetes Events.
	Kubernetes record.EventRecorder
	// Scheme knows the kinds of the objects.
	Scheme *runtime.Scheme
	// Address is the URL to post to; empty means no posts.
	Address string
	// Controller is the name that events are reported under.
	Controller string

	queue chan postedEvent
}

// NewRecorder returns a recorder that posts to the address, if there is one.
func NewRecorder(kubernetes record.EventRecorder, scheme *runtime.Scheme, controller, address string) *Recorder {
	return &Recorder{
		Kubernetes: kubernetes,
		Scheme:     scheme,
		Address:    address,
		Controller: controller,
		queue:      make(chan postedEvent, postQueueSize),
	}
}

// postedEvent is the wire form of FLUX.md §2.5.
type postedEvent struct {
	InvolvedObject      corev1.ObjectReference `json:"involvedObject"`
	Severity            string                 `json:"severity"`
	Timestamp           metav1.Time            `json:"timestamp"`
	Message             string                 `json:"message"`
	Reason              string                 `json:"reason"`
	Metadata            map[string]string      `json:"metadata,omitempty"`
	ReportingController string                 `json:"reportingController"`
	ReportingInstance   string                 `json:"reportingInstance,omitempty"`
}

// Publish records the event.
func (r *Recorder) Publish(ctx context.Context, obj client.Object, event Event) {
	message := Redact(event.Message)
	kind := corev1.EventTypeNormal
	if event.Severity == SeverityError {
		kind = corev1.EventTypeWarning
	}
	r.Kubernetes.AnnotatedEventf(obj, event.Metadata, kind, event.Reason, "%s", message)
	if r.Address == "" || event.Severity == SeverityTrace {
		return
	}
	posted, err := r.posted(obj, event, message)
	if err != nil {
		log.FromContext(ctx).Error(err, "event not posted")
		return
	}
	select {
	case r.queue <- posted:
	default:
		log.FromContext(ctx).Info("event not posted: the queue is full", "reason", event.Reason)
	}
}

func (r *Recorder) posted(obj client.Object, event Event, message string) (postedEvent, error) {
	gvk, err := apiutil.GVKForObject(obj, r.Scheme)
	if err != nil {
		return postedEvent{}, err
	}
	metadata := map[string]string{}
	for key, value := range obj.GetAnnotations() {
		if strings.HasPrefix(key, meta.EventAnnotationPrefix) {
			metadata[key] = value
		}
	}
	maps.Copy(metadata, event.Metadata)
	instance, err := os.Hostname()
	if err != nil {
		instance = r.Controller
	}
	return postedEvent{
		InvolvedObject: corev1.ObjectReference{
			APIVersion:      gvk.GroupVersion().String(),
			Kind:            gvk.Kind,
			Namespace:       obj.GetNamespace(),
			Name:            obj.GetName(),
			UID:             obj.GetUID(),
			ResourceVersion: obj.GetResourceVersion(),
		},
		Severity:            event.Severity,
		Timestamp:           metav1.Now(),
		Message:             message,
		Reason:              event.Reason,
		Metadata:            metadata,
		ReportingController: r.Controller,
		ReportingInstance:   instance,
	}, nil
}

// Start posts queued events until the context ends.
func (r *Recorder) Start(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case event := <-r.queue:
			if err := r.post(ctx, event); err != nil {
				log.FromContext(ctx).Error(redactError(err), "event not posted", "reason", event.Reason)
			}
		}
	}
}

// NeedLeaderElection is false: every process posts its own events.
func (r *Recorder) NeedLeaderElection() bool { return false }

// post sends one event. Connection errors and 5xx answers are retried; 429
// means that the receiver has the event already.
func (r *Recorder) post(ctx context.Context, event postedEvent) error {
	body, err := json.Marshal(event)
	if err != nil {
		return err
	}
	var last error
	err = wait.ExponentialBackoffWithContext(ctx, postBackoff, func(ctx context.Context) (bool, error) {
		var code int
		code, last = r.send(ctx, body)
		switch {
		case last != nil || code >= http.StatusInternalServerError:
			return false, nil
		case code == http.StatusTooManyRequests || code < http.StatusMultipleChoices:
			return true, nil
		}
		return false, fmt.Errorf("the receiver answered %d", code)
	})
	if wait.Interrupted(err) && last != nil {
		return last
	}
	return err
}

func (r *Recorder) send(ctx context.Context, body []byte) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, postTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, r.Address, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer func() { _ = response.Body.Close() }()
	_, err = io.Copy(io.Discard, io.LimitReader(response.Body, 1<<20))
	return response.StatusCode, err
}
