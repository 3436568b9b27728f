"""The web page of files: copyparty, the rule on links, and the preview of notebooks."""
