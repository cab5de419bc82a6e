package bucket

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

// s3 is whatever speaks Amazon's API.
type s3 struct {
	client *minio.Client
	bucket string
}

func newS3(obj *sourcev1.Bucket, endpoint *url.URL, l login, transport http.RoundTripper) (storage, error) {
	client, err := minio.New(endpoint.Host, &minio.Options{
		Creds:      credentials.NewStaticV4(l.Username, l.Password, l.Token), // anonymous where empty
		Secure:     endpoint.Scheme == "https",
		Region:     obj.Spec.Region,
		Transport:  transport,
		MaxRetries: 1, // the loop repeats what failed, with its own backoff
	})
	if err != nil {
		return nil, reconcile.Stall(urlInvalidReason, errors.New("spec.endpoint is not a host, with the port where it is not the usual one"))
	}
	return &s3{client: client, bucket: obj.Spec.BucketName}, nil
}

func (s *s3) list(ctx context.Context, prefix string, each func(string, entry) error) error {
	// The channel is drained to its end only when the context ends.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for object := range s.client.ListObjects(ctx, s.bucket, minio.ListObjectsOptions{Prefix: prefix, Recursive: true}) {
		if object.Err != nil {
			return object.Err
		}
		if err := each(object.Key, entry{etag: object.ETag, size: object.Size}); err != nil {
			return err
		}
	}
	return nil
}

func (s *s3) open(ctx context.Context, key string, e entry) (io.ReadCloser, error) {
	var options minio.GetObjectOptions
	if e.etag != "" {
		if err := options.SetMatchETag(e.etag); err != nil {
			return nil, err
		}
	}
	return s.client.GetObject(ctx, s.bucket, key, options)
}

func (*s3) status(err error) int {
	var answer minio.ErrorResponse
	if !errors.As(err, &answer) {
		return 0
	}
	if answer.StatusCode == 0 && (answer.Code == minio.NoSuchKey || answer.Code == minio.NoSuchBucket) {
		return http.StatusNotFound
	}
	return answer.StatusCode
}
