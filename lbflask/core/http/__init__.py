"""What RFC 9110 and RFC 9112 ask of an intermediary, each rule once, as data where it can be."""
