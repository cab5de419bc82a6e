package action

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/headwater-dev/headwater/agent/apply"
)

// maxAnswer bounds in bytes what is read of a refusal.
const maxAnswer = 1 << 20

// secretPath is that of Secrets, behind whatever path the server itself is at.
var secretPath = regexp.MustCompile(`/api/v1/namespaces/([^/]+)/secrets(?:/([^/]+))?$`)

// verbs are what the methods of requests that write are called.
var verbs = map[string]string{http.MethodPost: "create", http.MethodPut: "update", http.MethodPatch: "patch", http.MethodDelete: "delete"}

// mask takes what a server quotes of a Secret out of its answer to a write. Helm
// makes texts of its errors, joins them, logs them and puts them into records: there
// is no other place that all of them pass.
func mask(request *http.Request, response *http.Response) error {
	path, verb := secretPath.FindStringSubmatch(request.URL.Path), verbs[request.Method]
	if path == nil || verb == "" || response.StatusCode < http.StatusBadRequest {
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return err
	}
	ref := apply.Ref{GroupKind: schema.GroupKind{Kind: "Secret"}, Namespace: path[1], Name: path[2]}
	if ref.Name == "" {
		ref.Name = nameIn(request)
	}
	status := statusIn(body)
	if status == nil {
		status = &apierrors.NewGenericServerResponse(response.StatusCode, request.Method, schema.GroupResource{Resource: "secrets"}, ref.Name, "", 0, false).ErrStatus
	}
	if apply.Masked(*status) != status.Message {
		status.Message = apply.ErrorOf(ref, verb, &apierrors.StatusError{ErrStatus: *status}).Error()
	}
	if status.Details != nil {
		for i := range status.Details.Causes {
			status.Details.Causes[i].Message = ""
		}
	}
	status.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
	text, err := json.Marshal(status)
	if err != nil {
		return err
	}
	response.Body = &rewritten{Reader: bytes.NewReader(text), Closer: response.Body}
	response.ContentLength = int64(len(text))
	response.Header.Set("Content-Type", "application/json")
	response.Header.Set("Content-Length", strconv.Itoa(len(text)))
	return nil
}

// statusIn is the server's reason, in JSON or protobuf; nil when it is something
// else.
func statusIn(body []byte) *metav1.Status {
	decoded, _, err := scheme.Codecs.UniversalDeserializer().Decode(body, nil, nil)
	status, ok := decoded.(*metav1.Status)
	if err != nil || !ok {
		return nil
	}
	return status
}

// nameIn is the name of the object that is to be created; empty when the request does
// not say it in JSON.
func nameIn(request *http.Request) string {
	if request.GetBody == nil {
		return ""
	}
	body, err := request.GetBody()
	if err != nil {
		return ""
	}
	defer func() { _ = body.Close() }()
	var sent metav1.PartialObjectMetadata
	if err := json.NewDecoder(body).Decode(&sent); err != nil {
		return ""
	}
	return sent.Name
}

// rewritten is a body in the place of another one.
type rewritten struct {
	io.Reader
	io.Closer
}
