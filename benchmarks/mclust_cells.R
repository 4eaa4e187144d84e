# A whole fit of mclust, its agglomeration included: Rscript mclust_cells.R FOLDER ROWS FEATURES CLUSTERS
# Numbers come as little-endian doubles in column-major order; prints seconds and the log likelihood.
suppressPackageStartupMessages(library(mclust))
given <- commandArgs(trailingOnly = TRUE)
n <- as.integer(given[2]); d <- as.integer(given[3])
x <- matrix(readBin(file.path(given[1], "x"), "double", n * d, endian = "little"), n, d)
took <- system.time(fitted <- Mclust(x, G = as.integer(given[4]), modelNames = "EEE", verbose = FALSE))[["elapsed"]]
cat(took, fitted$loglik, "\n")
