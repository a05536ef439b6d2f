"""Files of models: headers, identification, layouts, loading, saving and conversion."""
