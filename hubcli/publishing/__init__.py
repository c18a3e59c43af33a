"""Finding models on Kaggle and on hosts of one's own, and publishing there: search, uploads, checklist."""
