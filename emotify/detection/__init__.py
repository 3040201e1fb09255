"""Where the faces in a picture are."""
