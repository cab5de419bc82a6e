package signature

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"
)

// Annotations of signatures without keys, in the form that cosign made before
// there were bundles.
const (
	certificateAnnotation = "dev.sigstore.cosign/certificate"
	logAnnotation         = "dev.sigstore.cosign/bundle"
	timeAnnotation        = "dev.sigstore.cosign/rfc3161timestamp"

	payloadHash = "sha256"
)

// logged is what the transparency log promised.
type logged struct {
	SignedEntryTimestamp []byte
	Payload              struct {
		Body           string `json:"body"`
		IntegratedTime int64  `json:"integratedTime"`
		LogIndex       int64  `json:"logIndex"`
		LogID          string `json:"logID"`
	}
}

func sum(content []byte) []byte {
	digest := sha256.Sum256(content)
	return digest[:]
}

// asBundle says in one bundle what the annotations say.
func asBundle(b blob, signed []byte) (*bundle.Bundle, error) {
	certificate, _ := pem.Decode([]byte(b.Annotations[certificateAnnotation]))
	if certificate == nil {
		return nil, fmt.Errorf("a signature without a certificate in the annotation %s", certificateAnnotation)
	}
	verification := &protobundle.VerificationMaterial{Content: &protobundle.VerificationMaterial_X509CertificateChain{
		X509CertificateChain: &protocommon.X509CertificateChain{
			Certificates: []*protocommon.X509Certificate{{RawBytes: certificate.Bytes}},
		},
	}}
	if text, ok := b.Annotations[logAnnotation]; ok {
		entry, err := logEntry(text)
		if err != nil {
			return nil, fmt.Errorf("the annotation %s: %w", logAnnotation, err)
		}
		verification.TlogEntries = []*protorekor.TransparencyLogEntry{entry}
	}
	if text, ok := b.Annotations[timeAnnotation]; ok {
		var stamp struct{ SignedRFC3161Timestamp []byte }
		if err := json.Unmarshal([]byte(text), &stamp); err != nil {
			return nil, fmt.Errorf("the annotation %s: %w", timeAnnotation, err)
		}
		verification.TimestampVerificationData = &protobundle.TimestampVerificationData{
			Rfc3161Timestamps: []*protocommon.RFC3161SignedTimestamp{{SignedTimestamp: stamp.SignedRFC3161Timestamp}},
		}
	}
	return bundle.NewBundle(&protobundle.Bundle{
		MediaType:            "application/vnd.dev.sigstore.bundle+json;version=0.1",
		VerificationMaterial: verification,
		Content: &protobundle.Bundle_MessageSignature{MessageSignature: &protocommon.MessageSignature{
			MessageDigest: &protocommon.HashOutput{Algorithm: protocommon.HashAlgorithm_SHA2_256, Digest: sum(b.content)},
			Signature:     signed,
		}},
	})
}

func logEntry(text string) (*protorekor.TransparencyLogEntry, error) {
	var entry logged
	if err := json.Unmarshal([]byte(text), &entry); err != nil {
		return nil, err
	}
	id, err := hex.DecodeString(entry.Payload.LogID)
	if err != nil {
		return nil, fmt.Errorf("logID: %w", err)
	}
	body, err := base64.StdEncoding.DecodeString(entry.Payload.Body)
	if err != nil {
		return nil, fmt.Errorf("body: %w", err)
	}
	var kind struct {
		Kind       string `json:"kind"`
		APIVersion string `json:"apiVersion"`
	}
	if err := json.Unmarshal(body, &kind); err != nil {
		return nil, fmt.Errorf("body: %w", err)
	}
	return &protorekor.TransparencyLogEntry{
		LogIndex:          entry.Payload.LogIndex,
		LogId:             &protocommon.LogId{KeyId: id},
		KindVersion:       &protorekor.KindVersion{Kind: kind.Kind, Version: kind.APIVersion},
		IntegratedTime:    entry.Payload.IntegratedTime,
		InclusionPromise:  &protorekor.InclusionPromise{SignedEntryTimestamp: entry.SignedEntryTimestamp},
		CanonicalizedBody: body,
	}, nil
}
