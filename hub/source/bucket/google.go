package bucket

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"

	"google.golang.org/api/googleapi"
	"google.golang.org/api/option"
	gcs "google.golang.org/api/storage/v1"

	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

// google is Google Cloud Storage, over its JSON API, whose etags are those that
// Flux makes revisions of.
type google struct {
	objects *gcs.ObjectsService
	bucket  string
}

func newGoogle(ctx context.Context, obj *sourcev1.Bucket, endpoint *url.URL, l login, transport http.RoundTripper) (storage, error) {
	client := &http.Client{Transport: bearer{transport, l.Token}}
	service, err := gcs.NewService(ctx, option.WithHTTPClient(client), option.WithEndpoint(endpoint.JoinPath("storage", "v1").String()+"/"))
	if err != nil {
		return nil, reconcile.Stall(urlInvalidReason, errors.New("spec.endpoint is not where Google's storage is, such as storage.googleapis.com"))
	}
	return &google{objects: service.Objects, bucket: obj.Spec.BucketName}, nil
}

// bearer sends the token along, to the endpoint alone: the guard follows no
// redirects.
type bearer struct {
	http.RoundTripper
	token string
}

// RoundTrip sends the request with the token.
func (b bearer) RoundTrip(request *http.Request) (*http.Response, error) {
	request = request.Clone(request.Context())
	request.Header.Set("Authorization", "Bearer "+b.token)
	return b.RoundTripper.RoundTrip(request)
}

func (g *google) list(ctx context.Context, prefix string, each func(string, entry) error) error {
	return g.objects.List(g.bucket).Prefix(prefix).Fields("nextPageToken", "items(name,etag,size,generation)").Pages(ctx, func(page *gcs.Objects) error {
		for _, object := range page.Items {
			size := int64(min(object.Size, maxBytes+1)) // more than that is too much, whatever it is
			if err := each(object.Name, entry{etag: object.Etag, size: size, generation: object.Generation}); err != nil {
				return err
			}
		}
		return nil
	})
}

func (g *google) open(ctx context.Context, key string, e entry) (io.ReadCloser, error) {
	call := g.objects.Get(g.bucket, key).Context(ctx)
	if e.generation != 0 {
		call = call.Generation(e.generation)
	}
	answer, err := call.Download()
	if err != nil {
		return nil, err
	}
	return answer.Body, nil
}

func (*google) status(err error) int {
	var answer *googleapi.Error
	if errors.As(err, &answer) {
		return answer.Code
	}
	return 0
}
