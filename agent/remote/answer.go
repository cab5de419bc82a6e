package remote

import (
	"fmt"
	"io"
	"net/http"
)

const (
	// mostAnswer bounds the bytes of one answer, after unpacking. The largest that an
	// honest server gives is a page of 50 records of Helm's, each as large as a Secret
	// can be.
	mostAnswer = 96 << 20
	// mostProbed is as much of what the loop of a connection asks, none of which is
	// more than one object of etcd's.
	mostProbed = 2 << 20
	// mostHeader bounds the header of an answer.
	mostHeader = 1 << 20
)

// tooMuchError is an answer that is longer than any that an honest server gives.
type tooMuchError struct{ most int64 }

func (e *tooMuchError) Error() string {
	return fmt.Sprintf("the target's answer is longer than %d MiB", e.most>>20)
}

// bound makes an answer end after that many bytes: a kubeconfig may lead anywhere,
// and client-go reads an answer whole, whatever its length and status. A watch has
// as much as well. It ends there as if the server had ended it, and whoever follows
// it begins another where it was.
func bound(request *http.Request, response *http.Response, most int64) {
	var end error = &tooMuchError{most}
	if watches(request) {
		end = io.EOF
	}
	response.Body = &boundedBody{ReadCloser: response.Body, left: most + 1, end: end}
}

// boundedBody ends with an error after some bytes.
type boundedBody struct {
	io.ReadCloser
	left int64
	end  error
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, b.end
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}
