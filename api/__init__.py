"""Who asks us: HTTP and the prompt, and the only place where all is joined."""
