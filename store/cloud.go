package store

import (
	"context"
	"errors"
	"fmt"
	"io"

	"gocloud.dev/blob"
	_ "gocloud.dev/blob/memblob" // mem://
	_ "gocloud.dev/blob/s3blob"  // s3://, 9.4 MB of a stripped binary
	"gocloud.dev/gcerrors"
)

// bucketWriter writes objects to a bucket, whose service makes them appear whole and only if the key is free.
type bucketWriter struct{ bucket *blob.Bucket }

func (bucketWriter) close() error { return nil }

func (b bucketWriter) ready(ctx context.Context) error {
	there, err := b.bucket.IsAccessible(ctx)
	if err == nil && !there {
		return errors.New("there is no such bucket")
	}
	return err
}

func (b bucketWriter) write(ctx context.Context, key string, r io.Reader, check func() error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	out, err := b.bucket.NewWriter(ctx, key, &blob.WriterOptions{ContentType: "application/octet-stream", IfNotExist: true})
	if err != nil {
		return err
	}
	_, err = io.Copy(out, r)
	if err == nil {
		err = check()
	}
	if err != nil {
		cancel() // a writer closed after this makes nothing appear
		out.Close()
		return taken(err)
	}
	return taken(out.Close())
}

// taken recognises a service's ways of saying that the key is not free: S3 has one for a key that is there, and one
// for a key that somebody else is writing at the same moment.
func taken(err error) error {
	var coded interface{ ErrorCode() string }
	simultaneous := errors.As(err, &coded) && coded.ErrorCode() == "ConditionalRequestConflict"
	if simultaneous || gcerrors.Code(err) == gcerrors.FailedPrecondition {
		return fmt.Errorf("%w: %w", errExists, err)
	}
	return err
}
