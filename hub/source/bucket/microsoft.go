package bucket

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

// perPage is how many blobs are asked for at once: as many as other APIs give.
const perPage = 1000

// microsoft is a container of Azure Blob Storage.
type microsoft struct{ client *container.Client }

// newMicrosoft logs in by a token, by the key of the account, or by what the query
// of the URL is signed with.
func newMicrosoft(obj *sourcev1.Bucket, endpoint *url.URL, l login, transport http.RoundTripper) (storage, error) {
	options := &container.ClientOptions{ClientOptions: azcore.ClientOptions{
		Transport: &http.Client{Transport: transport},
		Retry:     policy.RetryOptions{MaxRetries: -1}, // the loop repeats what failed
	}}
	at := *endpoint.JoinPath(obj.Spec.BucketName)
	at.RawQuery = strings.Trim(at.RawQuery+"&"+l.query, "&")
	var client *container.Client
	var err error
	switch {
	case l.accountKey != "":
		var key *container.SharedKeyCredential
		if key, err = container.NewSharedKeyCredential(accountOf(endpoint), l.accountKey); err != nil {
			return nil, reconcile.Stall(urlInvalidReason, errors.New("spec.endpoint is not the URL of an account's blobs, such as https://account.blob.core.windows.net, or the key accountKey of spec.secretRef is not one in base64"))
		}
		client, err = container.NewClientWithSharedKeyCredential(at.String(), key, options)
	case l.Token != "":
		client, err = container.NewClient(at.String(), token(l.Token), options)
	default:
		client, err = container.NewClientWithNoCredential(at.String(), options)
	}
	if err != nil {
		return nil, reconcile.Stall(urlInvalidReason, errors.New("spec.endpoint is not the URL of an account's blobs, such as https://account.blob.core.windows.net"))
	}
	return &microsoft{client: client}, nil
}

// accountOf is the account whose blobs these are: the first label of the host, or
// the path where there is one, as emulators have it.
func accountOf(endpoint *url.URL) string {
	if path := strings.Trim(endpoint.Path, "/"); path != "" {
		return path
	}
	account, _, _ := strings.Cut(endpoint.Hostname(), ".")
	return account
}

// token is one that is there already. It is used for one session, within the time
// that logins are kept for.
type token string

// GetToken gives it.
func (t token) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: string(t), ExpiresOn: time.Now().Add(time.Hour)}, nil
}

func (m *microsoft) list(ctx context.Context, prefix string, each func(string, entry) error) error {
	most := int32(perPage)
	pages := m.client.NewListBlobsFlatPager(&container.ListBlobsFlatOptions{Prefix: &prefix, MaxResults: &most, Include: container.ListBlobsInclude{Metadata: true}})
	for pages.More() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return err
		}
		if page.Segment == nil {
			continue
		}
		for _, item := range page.Segment.BlobItems {
			if item.Name == nil || item.Properties == nil || item.Properties.ETag == nil || item.Properties.ContentLength == nil {
				return errors.New("the list has a blob without name, etag or size")
			}
			if isFolder(item.Metadata) {
				continue
			}
			if err := each(*item.Name, entry{etag: string(*item.Properties.ETag), size: *item.Properties.ContentLength}); err != nil {
				return err
			}
		}
	}
	return nil
}

// isFolder says whether a blob stands for a directory, as accounts with a
// hierarchical namespace have them.
func isFolder(metadata map[string]*string) bool {
	for name, value := range metadata {
		if strings.EqualFold(name, "hdi_isfolder") && value != nil && *value == "true" {
			return true
		}
	}
	return false
}

func (m *microsoft) open(ctx context.Context, key string, e entry) (io.ReadCloser, error) {
	var options *blob.DownloadStreamOptions
	if e.etag != "" {
		etag := azcore.ETag(e.etag)
		options = &blob.DownloadStreamOptions{AccessConditions: &blob.AccessConditions{ModifiedAccessConditions: &blob.ModifiedAccessConditions{IfMatch: &etag}}}
	}
	answer, err := m.client.NewBlobClient(key).DownloadStream(ctx, options)
	if err != nil {
		return nil, err
	}
	return answer.Body, nil
}

func (*microsoft) status(err error) int {
	var answer *azcore.ResponseError
	if errors.As(err, &answer) {
		return answer.StatusCode
	}
	return 0
}
