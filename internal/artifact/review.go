package artifact

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

const (
	sourceGroup = "source.toolkit.fluxcd.io"
	// maxToken bounds what is passed on to the API server.
	maxToken = 16 << 10
	// maxReviews is how many tokens are reviewed at once: those who have none
	// that is good must not keep the API server busy.
	maxReviews = 8
)

// resources are the API's names for the first element of an artifact's path.
var resources = map[string]string{
	"gitrepository":    "gitrepositories",
	"ocirepository":    "ocirepositories",
	"bucket":           "buckets",
	"helmchart":        "helmcharts",
	"helmrepository":   "helmrepositories",
	"externalartifact": "externalartifacts",
}

// reviewed hands an artifact to those whose bearer token the API server knows,
// and whom it allows to get the source that made it. It remembers no answer: a
// token or a right that was taken away is gone at once, and artifacts are fetched
// once for each digest.
type reviewed struct {
	next    http.Handler
	reviews client.Client
	slots   chan struct{}
}

func newReviewed(next http.Handler, reviews client.Client) *reviewed {
	return &reviewed{next: next, reviews: reviews, slots: make(chan struct{}, maxReviews)}
}

// ServeHTTP says nothing of an artifact, not even that it is there, to those who
// may not have it.
func (h *reviewed) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	token, ok := bearer(r)
	if !ok {
		w.Header().Set("WWW-Authenticate", "Bearer")
		http.Error(w, "a bearer token of the hub is needed", http.StatusUnauthorized)
		return
	}
	source, ok := sourceOf(r.URL.Path)
	if !ok {
		http.NotFound(w, r)
		return
	}
	select {
	case h.slots <- struct{}{}:
	case <-r.Context().Done():
		return
	}
	status, err := h.review(r.Context(), token, source)
	<-h.slots
	if err != nil {
		log.FromContext(r.Context()).Error(err, "artifact request not reviewed")
		http.Error(w, "the token cannot be reviewed now", http.StatusServiceUnavailable)
		return
	}
	if status != http.StatusOK {
		http.Error(w, http.StatusText(status), status)
		return
	}
	h.next.ServeHTTP(w, r)
}

// bearer is the token of a request.
func bearer(r *http.Request) (string, bool) {
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	token = strings.TrimSpace(token)
	return token, ok && strings.EqualFold(scheme, "Bearer") && token != "" && len(token) <= maxToken
}

// sourceOf is the source whose artifact is at the path.
func sourceOf(urlPath string) (authorizationv1.ResourceAttributes, bool) {
	name := strings.TrimPrefix(urlPath, "/")
	if _, _, err := splitPath(name); err != nil {
		return authorizationv1.ResourceAttributes{}, false
	}
	parts := strings.Split(name, "/")
	resource, ok := resources[parts[0]]
	return authorizationv1.ResourceAttributes{
		Verb: "get", Group: sourceGroup, Resource: resource, Namespace: parts[1], Name: parts[2],
	}, ok
}

// review asks the API server who has the token, and whether that user may get
// the source.
func (h *reviewed) review(ctx context.Context, token string, source authorizationv1.ResourceAttributes) (int, error) {
	who := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}
	if err := h.reviews.Create(ctx, who); err != nil {
		return 0, fmt.Errorf("review a token: %w", err)
	}
	if !who.Status.Authenticated {
		return http.StatusUnauthorized, nil
	}
	user := who.Status.User
	extra := map[string]authorizationv1.ExtraValue{}
	for key, values := range user.Extra {
		extra[key] = authorizationv1.ExtraValue(values)
	}
	may := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: user.Username, UID: user.UID, Groups: user.Groups, Extra: extra, ResourceAttributes: &source,
	}}
	if err := h.reviews.Create(ctx, may); err != nil {
		return 0, fmt.Errorf("review whether %s may get %s %s/%s: %w", user.Username, source.Resource, source.Namespace, source.Name, err)
	}
	if !may.Status.Allowed {
		return http.StatusForbidden, nil
	}
	return http.StatusOK, nil
}
