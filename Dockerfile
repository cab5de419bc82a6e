# One image for either process: docker build --build-arg NAME=hub .
FROM golang:1.26 AS build
ARG NAME
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY api api
COPY shard shard
COPY internal internal
COPY config config
COPY hub hub
COPY agent agent
# Without cloud storage over gRPC, which is not used.
RUN CGO_ENABLED=0 go build -trimpath -tags disable_grpc_modules -ldflags "-s -w" -o /manager ./$NAME

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /manager /manager
USER 65534:65534
ENTRYPOINT ["/manager"]
