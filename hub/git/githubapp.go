package git

import (
	"context"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	corev1 "k8s.io/api/core/v1"

	"github.com/headwater-dev/headwater/hub/access"
	"github.com/headwater-dev/headwater/internal/cloud"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

// Keys of a Secret with a GitHub App (FLUX.md §1.1).
const (
	appIDKey           = "githubAppID"
	appInstallationKey = "githubAppInstallationID"
	appOwnerKey        = "githubAppInstallationOwner"
	appKeyKey          = "githubAppPrivateKey"
	appURLKey          = "githubAppBaseURL"
)

const (
	githubAPI = "https://api.github.com"
	// appUsername is whose password the token of an App is.
	appUsername = "x-access-token"
	// maxAppBytes bounds an answer of the API.
	maxAppBytes = 1 << 20
	// appDrift is how far the clock may be ahead of GitHub's, and appProof how
	// long the proof of being the App is good for: one conversation.
	appDrift = 30 * time.Second
	appProof = 2 * time.Minute
)

var number = regexp.MustCompile(`^[1-9][0-9]{0,18}$`)

// app is a GitHub App, installed at somebody's repositories.
type app struct {
	id, installation, owner string
	key                     *rsa.PrivateKey
	api                     string
	// version tells one state of the Secret from every other one.
	version string
}

// appOf reads the Secret. Its errors name keys, never values.
func appOf(secret *corev1.Secret) (*app, error) {
	text := func(key string) string { return strings.TrimSpace(string(secret.Data[key])) }
	a := &app{
		id: text(appIDKey), installation: text(appInstallationKey), owner: text(appOwnerKey), api: githubAPI,
		version: string(secret.UID) + " " + secret.ResourceVersion,
	}
	switch {
	case !number.MatchString(a.id):
		return nil, fmt.Errorf("its key %s is not the number of a GitHub App", appIDKey)
	case (a.installation == "") == (a.owner == ""):
		return nil, fmt.Errorf("it needs one of the keys %s and %s", appInstallationKey, appOwnerKey)
	case a.installation != "" && !number.MatchString(a.installation):
		return nil, fmt.Errorf("its key %s is not the number of an installation", appInstallationKey)
	}
	if base := text(appURLKey); base != "" {
		u, err := url.Parse(base)
		if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http" {
			return nil, fmt.Errorf("its key %s is not the URL of an API, such as https://github.example.com/api/v3", appURLKey)
		}
		a.api = strings.TrimSuffix(base, "/")
	}
	var err error
	if a.key, err = jwt.ParseRSAPrivateKeyFromPEM(secret.Data[appKeyKey]); err != nil {
		return nil, fmt.Errorf("its key %s is not an RSA key in PEM form", appKeyKey)
	}
	return a, nil
}

// login exchanges the proof of being the App for a token of its installation.
//
// fluxcd/pkg/auth can do so as well, by a client that sends the proof to wherever
// a redirect leads and reads answers of any length.
func (a *app) login(ctx context.Context, base *http.Transport) (cloud.Login, error) {
	now := time.Now()
	proof, err := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.RegisteredClaims{
		Issuer: a.id, IssuedAt: jwt.NewNumericDate(now.Add(-appDrift)), ExpiresAt: jwt.NewNumericDate(now.Add(appProof)),
	}).SignedString(a.key)
	if err != nil {
		return cloud.Login{}, fmt.Errorf("signing with its key %s: %w", appKeyKey, err)
	}
	c := conversation{proof: proof, client: &http.Client{
		Transport:     base,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	installation := a.installation
	if installation == "" {
		if installation, err = a.find(ctx, c); err != nil {
			return cloud.Login{}, err
		}
	}
	var token struct {
		Token   string    `json:"token"`
		Expires time.Time `json:"expires_at"`
	}
	if err := c.ask(ctx, http.MethodPost, a.api+"/app/installations/"+installation+"/access_tokens", &token); err != nil {
		return cloud.Login{}, err
	}
	if token.Token == "" {
		return cloud.Login{}, fmt.Errorf("%s (%s) answers without a token", a.api, appURLKey)
	}
	return cloud.Login{Username: appUsername, Password: token.Token, Expires: token.Expires}, nil
}

// find looks up the App's installation at its owner, an organization or a user.
func (a *app) find(ctx context.Context, c conversation) (string, error) {
	var found struct {
		ID json.Number `json:"id"`
	}
	owner := url.PathEscape(a.owner)
	err := c.ask(ctx, http.MethodGet, a.api+"/orgs/"+owner+"/installation", &found)
	var answered *answeredError
	if errors.As(err, &answered) && answered.status == http.StatusNotFound {
		err = c.ask(ctx, http.MethodGet, a.api+"/users/"+owner+"/installation", &found)
	}
	if err == nil && !number.MatchString(found.ID.String()) {
		err = fmt.Errorf("%s (%s) answers without the number of an installation", a.api, appURLKey)
	}
	return found.ID.String(), err
}

// conversation is one with GitHub's API, as an App.
type conversation struct {
	proof  string
	client *http.Client
}

// answeredError says that the API refuses. Its body is left out: it can hold
// anything.
type answeredError struct {
	at     string
	status int
}

func (e *answeredError) Error() string {
	text := fmt.Sprintf("%s answered %d", e.at, e.status)
	switch e.status {
	case http.StatusUnauthorized:
		return text + fmt.Sprintf(": %s is not the key of the App %s", appKeyKey, appIDKey)
	case http.StatusForbidden, http.StatusNotFound:
		return text + fmt.Sprintf(": the App is not installed there (%s, %s), or was suspended", appInstallationKey, appOwnerKey)
	}
	return text
}

func (c conversation) ask(ctx context.Context, method, at string, into any) error {
	request, err := http.NewRequestWithContext(ctx, method, at, http.NoBody)
	if err != nil {
		return fmt.Errorf("its key %s is not the URL of an API", appURLKey)
	}
	request.Header.Set("Authorization", "Bearer "+c.proof)
	request.Header.Set("Accept", "application/vnd.github+json")
	request.Header.Set("User-Agent", "headwater")
	response, err := c.client.Do(request)
	if err != nil {
		return fmt.Errorf("asking %s: %s", at, reconcile.OneLine(unwrap(err)))
	}
	defer func() { _ = response.Body.Close() }()
	if after := access.RetryAfter(response.Header); after > 0 && response.StatusCode >= http.StatusBadRequest {
		return reconcile.Wait(OperationFailedReason, fmt.Sprintf("%s answered %d: trying again in %s", at, response.StatusCode, after), after)
	}
	if response.StatusCode < http.StatusOK || response.StatusCode >= http.StatusMultipleChoices {
		return &answeredError{at: at, status: response.StatusCode}
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, maxAppBytes)).Decode(into); err != nil {
		return fmt.Errorf("%s does not answer as GitHub's API does", at)
	}
	return nil
}
