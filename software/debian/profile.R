
# There are no windows here. A user's packages have a folder that is there before the first is installed.
local({
    options(bitmapType = "cairo")
    own <- path.expand(Sys.getenv("R_LIBS_USER"))
    if (nzchar(own) && dir.create(own, showWarnings = FALSE, recursive = TRUE)) .libPaths(c(own, .libPaths()))
})
